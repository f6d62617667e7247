package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/export"
	"github.com/ooseio/oose/record/recordtest"
)

// recordServer is a node with records. After breakAt bytes of the first export
// the connection breaks off; 0: it does not.
func recordServer(t *testing.T, m *recordtest.Memory, breakAt int) (address string, positions *[]string) {
	t.Helper()
	positions = new([]string)
	return fakeNode(t, map[string]http.HandlerFunc{
		"GET /oose/export": func(w http.ResponseWriter, r *http.Request) {
			text := r.URL.Query().Get("position")
			*positions = append(*positions, text)
			var since record.Position
			if text != "" {
				require.NoError(t, json.Unmarshal([]byte(text), &since))
			}
			var b bytes.Buffer
			to, err := export.NewWriter(&b, export.Header{Source: m.Source()})
			require.NoError(t, err)
			_, err = export.Export(r.Context(), m, since, to, 0)
			require.NoError(t, err)
			require.NoError(t, to.Close())
			if at := breakAt; at > 0 {
				breakAt = 0
				_, _ = w.Write(b.Bytes()[:at])
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(b.Bytes())
		},
		"POST /oose/import": func(w http.ResponseWriter, r *http.Request) {
			from, err := export.NewReader(r.Body)
			require.NoError(t, err)
			done, err := export.Import(r.Context(), m, from, 0)
			if err != nil && !r.URL.Query().Has("incomplete") {
				w.WriteHeader(http.StatusBadRequest)
				answerWith(t, map[string]string{"error": err.Error()})(w, r)
				return
			}
			answerWith(t, adminapi.ImportAnswer{Imported: done, Incomplete: err != nil})(w, r)
		},
	}), positions
}

func withUsers(t *testing.T, source string, n int) *recordtest.Memory {
	t.Helper()
	m := recordtest.NewMemoryOf(source, nil)
	for i := range n {
		_, err := m.Update(t.Context(), record.User, fmt.Sprint("user", i), record.Condition{}, record.Change{Value: []byte(`{}`)})
		require.NoError(t, err)
	}
	return m
}

func TestExportCommand(t *testing.T) {
	m := withUsers(t, "one", 1234)
	address, positions := recordServer(t, m, 0)
	got := runCommand(t, address, "", "export")
	require.NoError(t, got.failure, got.err)
	whole := got.out
	require.Equal(t, 1236, strings.Count(whole, "\n"))
	require.Equal(t, whole, runCommand(t, address, "", "export", "--output", "-").out)

	file := filepath.Join(t.TempDir(), "backup")
	got = runCommand(t, address, "", "export", "--output", file)
	require.NoError(t, got.failure, got.err)
	require.Regexp(t, `backup: 1,234 records, [0-9.]+ kB\n$`, got.out)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, whole, string(text))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds secrets")

	require.ErrorContains(t, runCommand(t, address, "", "export", "-o", file).failure, "complete export already")
	require.Equal(t, []string{"", "", ""}, *positions)
}

func TestExportIsContinued(t *testing.T) {
	m := withUsers(t, "one", 3000)
	address, positions := recordServer(t, m, 100_000)
	file := filepath.Join(t.TempDir(), "backup")
	got := runCommand(t, address, "", "export", "--output", file)
	require.ErrorContains(t, got.failure, "repeat the command to continue")
	got = runCommand(t, address, "", "export", "--output", file, "--json")
	require.NoError(t, got.failure, got.err)
	var said struct {
		File                      string
		Records, Continued, Bytes int
	}
	require.NoError(t, json.Unmarshal([]byte(got.out), &said))
	require.Equal(t, 3000, said.Records)
	require.Greater(t, said.Continued, 500)
	require.Equal(t, []string{"", fmt.Sprintf(`{"one":%d}`, said.Continued)}, *positions)
	got = runCommand(t, address, "", "export")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, got.out, string(text), "as if it had not been interrupted")
}

func TestExportInto(t *testing.T) {
	m := withUsers(t, "one", 3)
	address, _ := recordServer(t, m, 0)
	whole := runCommand(t, address, "", "export").out
	other, _ := recordServer(t, withUsers(t, "two", 3), 0)
	for name, c := range map[string]struct{ there, address, want string }{
		"empty":        {"", address, ""},
		"begun":        {`{"format":"oo`, address, ""},
		"header":       {whole[:strings.Index(whole, "\n")+1], address, ""},
		"other things": {"my thesis", address, "is no export"},
		"other lines":  {"my\nthesis\n", address, "can't be continued"},
		"damaged":      {strings.Replace(whole[:len(whole)-20], "user0", "\x00ser0", 1), address, "can't be continued"},
		"another node": {whole[:len(whole)-20], other, "begun with another node's records"},
	} {
		file := filepath.Join(t.TempDir(), "backup")
		require.NoError(t, os.WriteFile(file, []byte(c.there), 0o600))
		got := runCommand(t, c.address, "", "export", "-o", file)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if c.want == "" {
			require.NoError(t, got.failure, name)
			require.Equal(t, whole, string(text), name)
			continue
		}
		require.ErrorContains(t, got.failure, c.want, name)
		if name != "another node" { // of which the unfinished line is cut off
			require.Equal(t, c.there, string(text), name)
		}
	}
	file := filepath.Join(t.TempDir(), "new")
	require.Error(t, runCommand(t, "127.0.0.1:1", "", "export", "-o", file).failure)
	require.NoFileExists(t, file)
}

func TestImportCommand(t *testing.T) {
	from, _ := recordServer(t, withUsers(t, "one", 1234), 0)
	whole := runCommand(t, from, "", "export").out
	file := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, os.WriteFile(file, []byte(whole), 0o600))

	to := recordtest.NewMemoryOf("two", nil)
	address, _ := recordServer(t, to, 0)
	got := runCommand(t, address, "", "import", "--input", file)
	require.NoError(t, got.failure, got.err)
	require.Equal(t, "1,234 records, 1,234 taken\n", got.out)
	got = runCommand(t, address, whole, "import")
	require.NoError(t, got.failure, got.err)
	require.Equal(t, "1,234 records, 0 taken\n  1,234 not newer than what is here, left out\n", got.out)
	got = runCommand(t, address, whole, "import", "-i", "-", "--json")
	require.JSONEq(t, `{"records":1234,"taken":0,"left":1234,"expired":0,"ahead":0}`, got.out)

	// A file is looked at before anything is sent.
	to = recordtest.NewMemoryOf("two", nil)
	address, _ = recordServer(t, to, 0)
	for name, c := range map[string]struct{ text, want string }{
		"cut off":   {whole[:len(whole)/2], "take what is there with --incomplete"},
		"damaged":   {strings.Replace(whole, "user1000\"", "user1001\"", 1), "its sum does not agree"},
		"no export": {"hello\n", "no sound export"},
		"empty":     {"", "not complete"},
	} {
		require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
		got = runCommand(t, address, "", "import", "-i", file)
		require.ErrorContains(t, got.failure, c.want, name)
		for r := range to.Walk(t.Context(), nil) {
			t.Fatalf("%s: %s was taken", name, r.Key)
		}
	}
	require.NoError(t, os.WriteFile(file, []byte(whole[:len(whole)/2]), 0o600))
	got = runCommand(t, address, "", "import", "-i", file, "--incomplete")
	require.NoError(t, got.failure, got.err)
	require.Regexp(t, `^6\d\d records, 6\d\d taken\n$`, got.out)
	require.ErrorContains(t, runCommand(t, address, whole[:len(whole)/2], "import").failure, "not complete")
	require.ErrorContains(t, runCommand(t, address, "", "import", "-i", filepath.Join(t.TempDir(), "no")).failure, "no such file")
}

func TestImportOfWhatIsAhead(t *testing.T) {
	address := fakeNode(t, map[string]http.HandlerFunc{"POST /oose/import": func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answerWith(t, adminapi.ImportAnswer{Imported: export.Imported{Records: 9, Taken: 4, Expired: 3, Ahead: 2}})(w, r)
	}})
	got := runCommand(t, address, "anything", "import")
	require.ErrorContains(t, got.failure, "2 records were left out that this database wrote after")
	require.Equal(t, "9 records, 4 taken\n      3 over, left out\n", got.out)
}
