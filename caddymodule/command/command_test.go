package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/caddymodule/adminapi"
)

// commandResult is what a command has come to.
type commandResult struct {
	out, err string
	failure  error
}

// runCommand runs one of the commands against the admin API at address.
func runCommand(t *testing.T, address, stdin string, args ...string) commandResult {
	t.Helper()
	root := &cobra.Command{Use: "oose", SilenceUsage: true}
	for _, c := range All() {
		root.AddCommand(subcommand(c))
	}
	var out, errs bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	if address != "" {
		args = append(args, "--address", address)
	}
	root.SetArgs(args)
	failure := root.ExecuteContext(context.Background())
	return commandResult{out.String(), errs.String(), failure}
}

// fakeNode is an admin API that answers with what a test says.
func fakeNode(t *testing.T, routes map[string]http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, h := range routes {
		mux.HandleFunc(pattern, h)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func answerWith(t *testing.T, v any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, json.NewEncoder(w).Encode(v))
	}
}

const (
	tokenA = "a20261120a7ch2nx9djn"
	shortA = "a20261120~e8d3d5"

	helloHash = "2aae6c35c94fcfb415dbe95f408b9ce91ee846ed" // of "hello world"
	worldBody = "hello world"
)

func putServer(t *testing.T) (address string, seen *[]string) {
	seen = new([]string)
	address = fakeNode(t, map[string]http.HandlerFunc{
		"POST /oose/put": func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			q := r.URL.Query()
			*seen = append(*seen, fmt.Sprintf("%s|%s|%s|%s|%d", q.Get("name"), q.Get("life"), q.Get("hash"), body, r.ContentLength))
			answerWith(t, adminapi.PutAnswer{
				Hash: helloHash, URL: "http://h/" + tokenA + "/" + q.Get("name"), Ext: "txt",
				Size: int64(len(body)), Durability: 2, Expires: 1795000000000,
			})(w, r)
		},
	})
	return address, seen
}

func TestPut(t *testing.T) {
	address, seen := putServer(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "hello.txt")
	require.NoError(t, os.WriteFile(file, []byte(worldBody), 0o600))
	empty := filepath.Join(dir, "empty.txt")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))

	got := runCommand(t, address, "", "put", file)
	require.NoError(t, got.failure, got.err)
	require.Contains(t, got.out, "hash   "+helloHash+"\n")
	require.Contains(t, got.out, "url    http://h/"+tokenA+"/hello.txt\n")
	require.Contains(t, got.out, "in 2 clones")
	require.Empty(t, got.err)

	got = runCommand(t, address, "", "put", "--life", "2h", "--hash", "sha256", "--json", file, empty)
	require.NoError(t, got.failure, got.err)
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	require.Len(t, lines, 2)
	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &line))
	require.Equal(t, helloHash, line["hash"])
	require.Equal(t, file, line["file"])

	got = runCommand(t, address, "from a pipe", "put", "-", "--name", "pipe.mp4")
	require.NoError(t, got.failure, got.err)
	require.Equal(t, []string{
		"hello.txt|||hello world|11",
		"hello.txt|7200000|sha256|hello world|11",
		"empty.txt|7200000|sha256||0",
		"pipe.mp4|||from a pipe|-1",
	}, *seen)
}

func TestPutRefused(t *testing.T) {
	address, seen := putServer(t)
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"folder", []string{"put", dir}, "it is a folder"},
		{"missing", []string{"put", filepath.Join(dir, "no")}, "no such file"},
		{"life", []string{"put", "--life", "soon", dir}, "use a duration above 0"},
		{"negative life", []string{"put", "--life", "-2h", dir}, "use a duration above 0"},
		{"name of many", []string{"put", "--name", "a", "x", "y"}, "--name is for one file"},
		{"nothing", []string{"put"}, "requires at least 1 arg"},
		{"flag", []string{"put", "--nope", "x"}, "unknown flag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := runCommand(t, address, "", tt.args...)
			require.Error(t, got.failure)
			require.Contains(t, got.err, tt.want)
			require.Equal(t, 1, strings.Count(got.err, "Error:"), "told once")
		})
	}
	require.Empty(t, *seen)
}

func TestServerSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.txt")
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o600))
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"full", 507, `{"error":"No store has room for the content"}`, "No store has room for the content"},
		{"plain Caddy", 404, "404 page not found\n", "is a Caddy without OOSE"},
		{"no JSON", 500, "boom", "answered 500 Internal Server Error: boom"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address := fakeNode(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			}})
			got := runCommand(t, address, "", "put", file)
			require.Error(t, got.failure)
			require.Contains(t, got.err, tt.want)
		})
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	got := runCommand(t, address, "", "user", "list")
	require.EqualError(t, got.failure, "exiting with status 3")
	require.Contains(t, got.err, "no server answers at "+address)
	require.Contains(t, got.err, "is it running?")
	require.Contains(t, got.err, "--address")

	got = runCommand(t, "unix/"+filepath.Join(t.TempDir(), "no.sock"), "", "user", "list")
	require.EqualError(t, got.failure, "exiting with status 3")

	got = runCommand(t, "tcp/localhost:2000-2010", "", "user", "list")
	require.ErrorContains(t, got.failure, "several ports")
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: answerWith(t, adminapi.UsersAnswer{Users: []adminapi.UserAnswer{{Name: "alice", Declared: true}}})}}
	server.Start()
	t.Cleanup(server.Close)
	got := runCommand(t, "unix/"+socket+"|0660", "", "user", "list")
	require.NoError(t, got.failure, got.err)
	require.Regexp(t, `alice +yes`, got.out)
}

func TestAddressFromConfig(t *testing.T) {
	address := fakeNode(t, map[string]http.HandlerFunc{"GET /oose/users": answerWith(t, adminapi.UsersAnswer{})})
	config := filepath.Join(t.TempDir(), "caddy.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"admin":{"listen":"`+address+`"}}`), 0o600))
	got := runCommand(t, "", "", "user", "list", "--config", config, "--json")
	require.NoError(t, got.failure, got.err)
	require.JSONEq(t, `{"users":null}`, got.out)
}

func contentServer(t *testing.T, body string) (string, *[]string) {
	ranges := new([]string)
	return fakeNode(t, map[string]http.HandlerFunc{
		"GET /oose/content/{hash}": func(w http.ResponseWriter, r *http.Request) {
			*ranges = append(*ranges, r.Header.Get("Range"))
			f, err := os.CreateTemp(t.TempDir(), "")
			require.NoError(t, err)
			defer f.Close()
			_, err = f.WriteString(body)
			require.NoError(t, err)
			info, err := f.Stat()
			require.NoError(t, err)
			http.ServeContent(w, r, "", info.ModTime(), f)
		},
	}), ranges
}

func TestGet(t *testing.T) {
	address, ranges := contentServer(t, worldBody)
	dir := t.TempDir()
	file := filepath.Join(dir, "out.txt")
	part := file + "." + helloHash[:12] + ".part"

	got := runCommand(t, address, "", "get", helloHash)
	require.NoError(t, got.failure, got.err)
	require.Equal(t, worldBody, got.out)

	require.NoError(t, os.WriteFile(part, []byte("hello"), 0o600))
	got = runCommand(t, address, "", "get", strings.ToUpper(helloHash), file)
	require.NoError(t, got.failure, got.err)
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, worldBody, string(body))
	require.NoFileExists(t, part)

	got = runCommand(t, address, "", "get", helloHash, file)
	require.ErrorContains(t, got.failure, "exists already")

	require.NoError(t, os.Rename(file, part))
	got = runCommand(t, address, "", "get", helloHash, file, "--json")
	require.NoError(t, got.failure, got.err)
	require.JSONEq(t, `{"hash":"`+helloHash+`","file":"`+file+`","size":11}`, got.out)
	require.Equal(t, []string{"", "bytes=5-", "bytes=11-"}, *ranges)
}

func TestGetDamaged(t *testing.T) {
	address, _ := contentServer(t, "hello World")
	file := filepath.Join(t.TempDir(), "out.txt")
	got := runCommand(t, address, "", "get", helloHash, file)
	require.EqualError(t, got.failure, "exiting with status 4")
	require.Contains(t, got.err, "damage was found")
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Empty(t, entries, "nothing stays of it")

	got = runCommand(t, address, "", "get", "nonsense")
	require.Error(t, got.failure)
}

func TestGetBreaksOff(t *testing.T) {
	address := fakeNode(t, map[string]http.HandlerFunc{
		"GET /oose/content/{hash}": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "11")
			io.WriteString(w, "hello")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	})
	file := filepath.Join(t.TempDir(), "out.txt")
	got := runCommand(t, address, "", "get", helloHash, file)
	require.Error(t, got.failure)
	require.NoFileExists(t, file)
	part, err := os.ReadFile(file + "." + helloHash[:12] + ".part")
	require.NoError(t, err)
	require.Equal(t, "hello", string(part), "to be continued")
}
