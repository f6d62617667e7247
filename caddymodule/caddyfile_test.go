package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the adapter gives into testdata")

// adapt gives the JSON of a Caddyfile.
func adapt(t testing.TB, text string) ([]byte, error) {
	t.Helper()
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return result, err
}

func indent(t testing.TB, b []byte) string {
	t.Helper()
	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, b, "", "\t"))
	return pretty.String()
}

// separator stands between a Caddyfile and what is expected of it.
const separator = "\n----------\n"

func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			input, want, _ := strings.Cut(strings.ReplaceAll(string(b), "\r\n", "\n"), separator)
			got, err := adapt(t, input)
			require.NoError(t, err)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(strings.TrimRight(input, "\n")+"\n"+separator[1:]+indent(t, got)+"\n"), 0o644))
				return
			}
			require.Equal(t, strings.TrimSpace(want), indent(t, got))

			formatted := caddyfile.Format([]byte(input + "\n"))
			require.Equal(t, strings.TrimSpace(input), strings.TrimSpace(string(formatted)), "the sample is not formatted")
		})
	}
}

// TestJSONParity shows that JSON has the power of the Caddyfile: what a
// Caddyfile gives can be read and written again without a change, and no
// unknown field passes.
func TestJSONParity(t *testing.T) {
	b, err := os.ReadFile("testdata/full.caddyfiletest")
	require.NoError(t, err)
	input, _, _ := strings.Cut(string(b), separator)
	adapted, err := adapt(t, input)
	require.NoError(t, err)
	var config struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	require.NoError(t, json.Unmarshal(adapted, &config))

	app := new(App)
	require.NoError(t, caddy.StrictUnmarshalJSON(config.Apps["oose"], app))
	again, err := json.Marshal(app)
	require.NoError(t, err)
	require.JSONEq(t, string(config.Apps["oose"]), string(again))
	require.Error(t, caddy.StrictUnmarshalJSON([]byte(`{"storess":[]}`), new(App)))

	// Numbers are as good as texts.
	numbers := new(App)
	require.NoError(t, caddy.StrictUnmarshalJSON([]byte(`{"exit_after":30000000000,"content":{"max_size":2000000000000},"repair":{"max_share":0.3}}`), numbers))
	require.Equal(t, app.ExitAfter, numbers.ExitAfter)
	require.Equal(t, app.Content.MaxSize, numbers.Content.MaxSize)
	require.Equal(t, app.Repair.MaxShare, numbers.Repair.MaxShare)
}

func TestCaddyfileErrors(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"second block", "{\n\toose {\n\t}\n\toose {\n\t}\n}", []string{"an oose block already", ":4"}},
		{"argument", "{\n\toose edge1\n}", []string{`"edge1"`, "oose { ... }", ":2"}},
		{"unknown", "{\n\toose {\n\t\tnmae x\n\t}\n}", []string{`"nmae"`, "name", ":3"}},
		{"twice", "{\n\toose {\n\t\tname a\n\t\tname b\n\t}\n}", []string{"name is given twice", ":4"}},
		{"too few", "{\n\toose {\n\t\tname\n\t}\n}", []string{"too few", "name <name>", ":3"}},
		{"too many", "{\n\toose {\n\t\tname a b\n\t}\n}", []string{`"b"`, "name <name>", ":3"}},
		{"stray block", "{\n\toose {\n\t\tname a {\n\t\t\tx\n\t\t}\n\t}\n}", []string{"name takes no block"}},
		{"bad name", "{\n\toose {\n\t\tname Edge_1\n\t}\n}", []string{"name", "lower-case", ":3"}},
		{"bad domain", "{\n\toose {\n\t\tdomain oose..example\n\t}\n}", []string{"domain", "oose.example", ":3"}},
		{"bad url", "{\n\toose {\n\t\turl cdn.oose.example\n\t}\n}", []string{"url", "https://", ":3"}},
		{"bad size", "{\n\toose {\n\t\tstore a /a {\n\t\t\treserve lots\n\t\t}\n\t}\n}", []string{"reserve", "5GB", ":4"}},
		{"zero size", "{\n\toose {\n\t\tstore a /a {\n\t\t\treserve 0\n\t\t}\n\t}\n}", []string{"reserve", "too little", ":4"}},
		{"bad duration", "{\n\toose {\n\t\texit_after soon\n\t}\n}", []string{"exit_after", "90s", ":3"}},
		{"bad share", "{\n\toose {\n\t\trepair {\n\t\t\tmax_share 130%\n\t\t}\n\t}\n}", []string{"max_share", "30%", ":4"}},
		{"bad number", "{\n\toose {\n\t\tcontent {\n\t\t\tcopies two\n\t\t}\n\t}\n}", []string{"copies", "whole number", ":4"}},
		{"copies", "{\n\toose {\n\t\tcontent {\n\t\t\tcopies 99\n\t\t}\n\t}\n}", []string{"content.copies", "1 to 16", ":4"}},
		{"hash", "{\n\toose {\n\t\tcontent {\n\t\t\thash sha2\n\t\t}\n\t}\n}", []string{"content.hash", "sha256", ":4"}},
		{"zone", "{\n\toose {\n\t\tpurchase {\n\t\t\tzone AB\n\t\t}\n\t}\n}", []string{"purchase.zone", "a-z", ":4"}},
		{"engine", "{\n\toose {\n\t\tengine mysql\n\t}\n}", []string{"mysql", "badger or redis", ":3"}},
		{"redis without address", "{\n\toose {\n\t\tengine redis\n\t}\n}", []string{"engine redis redis://", ":3"}},
		{"redis scheme", "{\n\toose {\n\t\tengine redis http://x\n\t}\n}", []string{"redis+sentinel", ":3"}},
		{"sentinel without master", "{\n\toose {\n\t\tengine redis redis+sentinel://a:1\n\t}\n}", []string{"master=", ":3"}},
		{"store without root", "{\n\toose {\n\t\tstore om101\n\t}\n}", []string{"store om101 has no root", "store <name> <root>", ":3"}},
		{"store twice", "{\n\toose {\n\t\tstore a /a\n\t\tstore a /b\n\t}\n}", []string{"store a", "twice", ":4"}},
		{"root twice", "{\n\toose {\n\t\tstore a /a\n\t\tstore b /a/\n\t}\n}", []string{"store b", "root of store a", ":4"}},
		{"short secret", "{\n\toose {\n\t\tcluster {\n\t\t\tsecret hush\n\t\t}\n\t}\n}", []string{"cluster.secret", "16 characters", ":4"}},
		{"join", "{\n\toose {\n\t\tcluster {\n\t\t\tjoin edge2\n\t\t}\n\t}\n}", []string{"cluster.join", "dns+srv", ":4"}},
		{"client_auth", "{\n\toose {\n\t\tcluster {\n\t\t\tclient_auth a.pem\n\t\t}\n\t}\n}", []string{"client_auth <certificate file> <key file>", ":4"}},
		{"user hash", "{\n\toose {\n\t\tuser alice secret\n\t}\n}", []string{"user alice", "hash-password", ":3"}},
		{"user twice", "{\n\toose {\n\t\tuser alice {env.A}\n\t\tuser alice {env.B}\n\t}\n}", []string{"alice is given twice", ":4"}},
		{"heartbeat word", "{\n\toose {\n\t\theartbeat on\n\t}\n}", []string{"heartbeat off", ":3"}},
		{"demand word", "{\n\toose {\n\t\tdemand on\n\t}\n}", []string{"demand off", ":3"}},
		{"demand", "{\n\toose {\n\t\tdemand {\n\t\t\tstores 99\n\t\t}\n\t}\n}", []string{"demand.stores", "16", ":4"}},
		{"header", "{\n\toose {\n\t\tsession {\n\t\t\theader \"X Y\"\n\t\t}\n\t}\n}", []string{"session.header", "X-OOSE-Token", ":4"}},
		{"session key", "{\n\toose {\n\t\tsession {\n\t\t\tkey alice short\n\t\t}\n\t}\n}", []string{"alice", "16 characters", ":4"}},
		{"compat", "{\n\toose {\n\t\tcompat 1.x\n\t}\n}", []string{"compat", "2.x", ":3"}},
		{"lone path", ":80 {\n\toose_store /media/om101\n}", []string{"oose_store <name> /media/om101", ":2"}},
		{"lone path and block", ":80 {\n\toose_store /media/om101 {\n\t\tmount\n\t}\n}", []string{"oose_store <name> /media/om101", ":2"}},
		{"store without root", ":80 {\n\toose_store om101\n}", []string{"oose_store om101 <root>", ":2"}},
		{"nameless store", ":80 {\n\toose_store {\n\t\tmount\n\t}\n}", []string{"oose_store <name> <root>", ":3"}},
		{"store too much", ":80 {\n\toose_store a /a b\n}", []string{`"b"`, "oose_store <name> <root>", ":2"}},
		{"store prism", ":80 {\n\toose_store a /a {\n\t\tprism P_1\n\t}\n}", []string{"prism", "lower-case", ":3"}},
		{"store address", ":80 {\n\toose_store a /a {\n\t\taddress om101\n\t}\n}", []string{"address", "https://", ":3"}},
		{"delivery", ":80 {\n\toose_purchase {\n\t\tdelivery proxy\n\t}\n}", []string{"stream or redirect", ":3"}},
		{"deny_static", ":80 {\n\toose_purchase {\n\t\tdeny_static *.mp4\n\t}\n}", []string{"deny_static", "mp4", ":3"}},
		{"cors", ":80 {\n\toose_purchase {\n\t\tcors player.example\n\t}\n}", []string{"cors", "https://", ":3"}},
		{"purchase argument", ":80 {\n\toose_purchase stream\n}", []string{`"stream"`, ":2"}},
		{"basic_auth", ":80 {\n\toose_prism {\n\t\tbasic_auth oose\n\t}\n}", []string{"basic_auth <user> <bcrypt hash>", ":3"}},
		{"basic_auth hash", ":80 {\n\toose_prism {\n\t\tbasic_auth oose pw\n\t}\n}", []string{"basic_auth oose", "hash-password", ":3"}},
		{"prism name", ":80 {\n\toose_prism Prism_1\n}", []string{"lower-case", ":2"}},
		{"prism too much", ":80 {\n\toose_prism a b\n}", []string{`"b"`, "oose_prism [<name>]", ":2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := adapt(t, tt.text)
			require.Error(t, err)
			for _, w := range tt.want {
				require.ErrorContains(t, err, w)
			}
			require.ErrorContains(t, err, "Caddyfile")
		})
	}
}

func FuzzCaddyfile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	require.NoError(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		input, _, _ := strings.Cut(string(b), separator)
		for at := 0; ; at++ { // each of our blocks, with what comes after it
			next := strings.Index(input[at:], "\toose")
			if next < 0 {
				break
			}
			at += next + 1
			f.Add(input[at:])
		}
	}
	f.Add("oose {\nstore a /a {\nreserve 0\n}\n}")
	f.Add("oose_store /media")
	f.Add("oose_store {\n}")
	f.Add("oose_prism {\nbasic_auth a {\n}\n}")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "import") {
			return // it reads files
		}
		for _, unmarshal := range []func(*caddyfile.Dispenser) (any, error){
			func(d *caddyfile.Dispenser) (any, error) { a := new(App); return a, a.UnmarshalCaddyfile(d) },
			func(d *caddyfile.Dispenser) (any, error) { p := new(Prism); return p, p.UnmarshalCaddyfile(d) },
			func(d *caddyfile.Dispenser) (any, error) { s := new(Store); return s, s.UnmarshalCaddyfile(d) },
			func(d *caddyfile.Dispenser) (any, error) { p := new(Purchase); return p, p.UnmarshalCaddyfile(d) },
		} {
			if v, err := unmarshal(caddyfile.NewTestDispenser(text)); err == nil {
				b, err := json.Marshal(v)
				require.NoError(t, err)
				require.NoError(t, caddy.StrictUnmarshalJSON(b, v), "what was parsed must load: %s", b)
			}
		}
	})
}
