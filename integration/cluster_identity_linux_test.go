package integration

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// caScripts are the commands of docs/replication.md that make a CA, and a
// node's certificate.
func caScripts(t *testing.T) (ca, node string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "replication.md"))
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## TLS with a CA of your own\n")
	require.True(t, ok)
	parts := strings.Split(section, "```sh\n")
	require.GreaterOrEqual(t, len(parts), 3)
	ca, _, _ = strings.Cut(parts[1], "```")
	node, _, _ = strings.Cut(parts[2], "```")
	require.Contains(t, node, "name=edge1.oose.example")
	require.Contains(t, node, "IP:10.0.0.1")
	return ca, node
}

func shell(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-euc", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// hosts has a node know the names of those of the private network: Caddy wants
// the name in the TLS handshake where clients show certificates, and an IP
// address has none there.
func hosts(t testing.TB, names map[string]string) Option {
	return func(n *Node) {
		text := "127.0.0.1 localhost\n"
		for name, address := range names {
			text += address + " " + name + ".oose.test\n"
		}
		file := n.Path("hosts")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		n.mounts = append(n.mounts, file+" /etc/hosts")
	}
}

// certify makes the certificate of a node's name, by a CA of a folder, into the
// node's.
func certify(t *testing.T, n *Node, name, ca, script string) {
	t.Helper()
	script = strings.NewReplacer("name=edge1.oose.example", "name="+name+".oose.test", "IP:10.0.0.1", "IP:"+n.Host).Replace(script)
	require.NoError(t, os.CopyFS(n.Path("tls"), os.DirFS(ca)))
	shell(t, n.Path("tls"), script)
}

// tlsEdge is edgeText with a site for the nodes that wants certificates.
func tlsEdge(name, join string) string {
	return strings.Replace(edgeText(name, join, ""), "address http://$HOST:$PORT",
		"address https://"+name+".oose.test:$TLS\n\t\t\ttrust $DIR/tls/ca.pem\n\t\t\tclient_auth $DIR/tls/node.pem $DIR/tls/node.key", 1) + `
https://` + name + `.oose.test:$TLS {
	bind $HOST
	tls $DIR/tls/node.pem $DIR/tls/node.key {
		client_auth {
			mode require_and_verify
			trust_pool file $DIR/tls/ca.pem
		}
	}
	oose_prism
}
`
}

// Nodes with certificates of a private CA, made as the documentation tells, are
// a cluster; who has none, or one of another CA, is kept out by TLS, secret or
// not.
func TestClusterMutualTLS(t *testing.T) {
	parallel(t)
	makeCA, makeNode := caScripts(t)
	ca, foreign := t.TempDir(), t.TempDir()
	shell(t, ca, makeCA)
	shell(t, foreign, makeCA)
	c := &Cluster{t: t, Nodes: map[string]*Node{}}
	names := map[string]string{"edge1": "127.0.3.1", "edge2": "127.0.3.2"}
	join := ""
	for i, name := range []string{"edge1", "edge2"} {
		n := Prepare(t, Config{Text: "# not yet"}, WithHost(fmt.Sprintf("127.0.3.%d", i+1)), hosts(t, names))
		certify(t, n, name, ca, makeNode)
		n.Configure(Config{Text: tlsEdge(name, join)})
		if i == 0 {
			join = n.Expand("join https://edge1.oose.test:$TLS")
		}
		c.Nodes[name] = n
	}
	c.start()
	one := c.Nodes["edge1"]
	a := one.Login()
	hash := a.Upload("f.bin", "sha256", strings.NewReader("hello"))
	require.Equal(t, 2, detail(a, hash).Count, "a clone went to the other node")
	token := a.Purchase(hash, "bin", nil).Token
	require.Equal(t, http.StatusOK, c.get("edge2", token))

	for i, s := range []struct{ name, from, to, why string }{
		// What is refused after the handshake is a matter of chance: the alert, or
		// the end of the connection.
		{"without a certificate", "\n\t\t\tclient_auth $DIR/tls/node.pem $DIR/tls/node.key", "", "calling edge1.oose.test"},
		{"with one of another CA", "client_auth $DIR/tls/node.pem $DIR/tls/node.key", "client_auth $DIR/foreign/tls/node.pem $DIR/foreign/tls/node.key", "calling edge1.oose.test"},
		{"who trusts public CAs", "\n\t\t\ttrust $DIR/tls/ca.pem", "", "unknown authority"},
		{"who trusts another CA", "trust $DIR/tls/ca.pem", "trust $DIR/foreign/ca.pem", "unknown authority"},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n := Prepare(t, Config{Text: "# not yet"}, WithHost(fmt.Sprintf("127.0.3.%d", 20+i)), hosts(t, names))
			certify(t, n, "stranger", ca, makeNode)
			require.NoError(t, os.CopyFS(n.Path("foreign"), os.DirFS(foreign)))
			shell(t, n.Path("foreign"), "mkdir tls; cp ca.pem ca.key tls; cd tls\n"+makeNode)
			text := tlsEdge("stranger", join)
			require.Contains(t, text, s.from)
			n.Configure(Config{Text: strings.Replace(text, s.from, s.to, 1)})
			n.SpawnOnly()
			refusedBecause(t, n, s.why)
			require.NotEqual(t, http.StatusOK, pingStatus(t, n), "a node that waits for its cluster is not ready")
			require.NotEqual(t, http.StatusOK, func() int {
				res, _ := fetch(t, n.Client(), http.MethodGet, n.URL("/"+token+"/f.bin"))
				return res.StatusCode
			}())
			require.Len(t, c.Peers(one), 4, "it is not in the registry")
		})
	}
}

// The secret is replaced on one node after the other, by reloads, while clients
// buy at each node and fetch from the others: nothing fails. What was made before
// works after it, and who has the old secret alone is a stranger then.
func TestClusterSecretRotation(t *testing.T) {
	parallel(t)
	c := edges(t, 3, "content {\n copies 2\n }")
	c.start()
	one := c.Nodes["edge1"].Login()
	data := []byte("made before")
	hash := one.Upload("f.bin", "sha256", bytes.NewReader(data))
	token := one.Purchase(hash, "bin", nil).Token
	const renewed = "another secret of tests, long enough"
	load := &pressure{stop: make(chan struct{})}
	transport := &http.Transport{DisableKeepAlives: true} // what crosses with the end of an idle connection is another matter
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for i := range 3 {
		at := func(k int) *Node { return c.Nodes[fmt.Sprintf("edge%d", (i+k)%3+1)] }
		maker := &API{t: t, base: at(0).URL(""), HTTP: client, Token: one.Token}
		load.work(fmt.Sprintf("made at edge%d", i+1), func() error {
			token, err := purchase(maker, hash)
			if err != nil {
				return err
			}
			return errors.Join(getExactly(client, at(1).URL("/"+token+"/f.bin"), data), getExactly(client, at(2).URL("/"+token+"/f.bin"), data))
		})
	}
	for _, secrets := range []string{`"` + renewed + `" "` + clusterSecret + `"`, `"` + renewed + `"`} {
		for i := range 3 {
			n := c.Nodes[fmt.Sprintf("edge%d", i+1)]
			load.goesOn(t)
			text := n.config.Text
			line, _, _ := strings.Cut(text[strings.Index(text, "secret "):], "\n")
			r := n.Reload(Config{Text: strings.Replace(text, line, "secret "+secrets, 1)})
			require.Zero(t, r.Code, "%s", r.Err)
			c.waitPeers()
		}
	}
	load.goesOn(t)
	load.end(t)
	for at := range c.Nodes {
		require.Equal(t, http.StatusOK, c.get(at, token), "made before, at %s", at)
	}
	c.agree()

	n := Prepare(t, Config{Text: "# not yet"}, WithHost("127.0.3.30"))
	n.Configure(Config{Text: edgeText("stranger", "join "+c.Nodes["edge1"].URL(""), "")})
	n.SpawnOnly()
	refusedBecause(t, n, "secret")
	for name, n := range c.Nodes {
		require.False(t, strings.Contains(n.Log(), renewed) || strings.Contains(n.Log(), clusterSecret), "the log of %s has a secret", name)
	}
}
