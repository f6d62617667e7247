package integration

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestQuickStart does what the README tells, with the programs it names.
func TestQuickStart(t *testing.T) {
	parallel(t)
	_, data := movie(t)
	example, err := os.ReadFile(filepath.Join("..", "Caddyfile.example"))
	require.NoError(t, err)
	n := Start(t, Config{Text: strings.ReplaceAll(string(example), "5971", "$PORT")})
	sh := func(script string, vars ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := n.command(ctx, "x")
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-euc", `oose() { "$OOSE" "$@"; }` + "\n" + script}
		cmd.Env = append(append(cmd.Env, "OOSE="+self, n.Expand("PRISM=http://localhost:$PORT")), vars...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Run(), "%s\n%s%s", script, out.String(), errs.String())
		return out.String()
	}
	require.NoError(t, os.WriteFile(n.Path("movie.mp4"), data, 0o600))

	hash := sha1Of(data)
	printed := sh("oose put movie.mp4")
	require.Contains(t, printed, hash)
	url := regexp.MustCompile(n.Expand(`http://localhost:$PORT/[a-z0-9]\d{8}[A-Za-z0-9]{11}/movie\.mp4`)).FindString(printed)
	require.NotEmpty(t, url, printed)

	sh(`curl -sS -o part "$URL" -r 1000-1999`, "URL="+url)
	requireFile(t, n.Path("part"), data[1000:2000])
	require.NoError(t, os.WriteFile(n.Path("copy.mp4"), data[:10_000_000], 0o600))
	sh(`wget -nv -c -O copy.mp4 "$URL"`, "URL="+url)
	requireFile(t, n.Path("copy.mp4"), data)
	sh(`head -c 1234567 movie.mp4 >again.mp4; curl -sS -C - -o again.mp4 "$URL"`, "URL="+url)
	requireFile(t, n.Path("again.mp4"), data)

	sh(`echo "a good password" | oose user add alice`)
	token := sh(`curl -sS "$PRISM/user/login" -H 'Content-Type: application/json' -d '{"username":"alice","password":"a good password"}'`)
	session := jsonAt(t, []byte(token), "session", "token")
	answer := sh(`curl -sS "$PRISM/content/upload" -H "X-OOSE-Token: $SESSION" -F file=@movie.mp4`, "SESSION="+session)
	require.Equal(t, hash, jsonAt(t, []byte(answer), "files", "file", "hash"))
	answer = sh(`curl -sS "$PRISM/content/purchase" -H "X-OOSE-Token: $SESSION" -H 'Content-Type: application/json' -d '{"hash":"`+hash+`","life":3600000}'`, "SESSION="+session)
	bought := jsonAt(t, []byte(answer), "url")
	require.True(t, strings.HasPrefix(bought, n.Expand("http://localhost:$PORT/")), bought)
	sh(`curl -sS -o bought.mp4 "$URL"`, "URL="+bought)
	requireFile(t, n.Path("bought.mp4"), data)

	require.Contains(t, sh("oose status"), "disk1")
	require.Contains(t, sh("oose inventory disk1"), hash)
	sh(`oose revoke "$TOKEN"`, "TOKEN="+strings.Split(bought, "/")[3])
	res, _ := fetch(t, Client(t), http.MethodGet, bought)
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	sh(`oose get ` + hash + ` got.mp4`)
	requireFile(t, n.Path("got.mp4"), data)
}

func requireFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "%s has other bytes (%d of %d)", path, len(got), len(want))
}
