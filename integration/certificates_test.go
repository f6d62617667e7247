package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/redisdb/redistest"
)

// localCerts is a node whose sites have certificates of Caddy's own CA, which
// lie in the engine.
func localCerts(oose string) Config {
	return Config{Options: "storage oose\n\tlocal_certs", Sites: httpsSite, Oose: oose}
}

// root returns the root certificate of the node's CA (PEM).
func root(t *testing.T, n *Node) string {
	t.Helper()
	pemText, ok := getJSON(t, n.AdminURL("/pki/ca/local"))["root_certificate"].(string)
	require.True(t, ok)
	return pemText
}

// served returns the certificate that the node's HTTPS site shows, checked
// against a root.
func served(n *Node, root string) (*x509.Certificate, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(root))
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{RootCAs: roots, ServerName: "localhost"}}
	conn, err := dialer.DialContext(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", n.TLS))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

func awaitServed(t *testing.T, n *Node, root string) (c *x509.Certificate) {
	t.Helper()
	var err error
	n.Eventually(func() bool {
		c, err = served(n, root)
		return err == nil
	}, "the HTTPS site answers with a certificate of the CA")
	return c
}

// files lists a folder's files with what tells whether they changed.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	list := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		list[path] = fmt.Sprint(info.ModTime(), info.Mode(), len(text))
		return err
	}))
	return list
}

func TestCertificatesInTheEngine(t *testing.T) {
	parallel(t)
	n := Prepare(t, localCerts(""))
	validate := func() {
		t.Helper()
		r := n.Run("validate", "--config", n.Path("Caddyfile"), "--adapter", "caddyfile")
		require.Zero(t, r.Code, r.Err)
	}
	validate()
	require.NoDirExists(t, n.Path("data"), "a configuration that is looked at writes nothing")
	n.Begin()
	ca := root(t, n)
	leaf := awaitServed(t, n, ca)
	copies := n.Path("data", "certificates")
	n.Eventually(func() bool { // root, intermediate, and three files of the site, each with what follows it
		entries, err := os.ReadDir(copies)
		return err == nil && len(entries) >= 7
	}, "the copy has the certificates")
	require.NoDirExists(t, n.Path("xdg", "caddy", "pki"), "they are not where Caddy would put them")
	require.NoDirExists(t, n.Path("xdg", "caddy", "certificates"))

	before := files(t, copies)
	validate()
	require.Equal(t, before, files(t, copies), "beside a running node nothing is written either")
	for path, what := range before {
		require.Contains(t, what, "-rw-------", path)
	}
	same := func(what string) {
		t.Helper()
		require.Equal(t, ca, root(t, n), what)
		require.Equal(t, leaf.SerialNumber, awaitServed(t, n, ca).SerialNumber, what)
	}
	r := n.Reload(localCerts("purchase {\n\t\t\tlife 3h\n\t\t}"))
	require.Zero(t, r.Code, r.Err)
	same("reloaded")
	n.Stop()
	n.Restart()
	same("restarted")
	n.Kill()
	n.Restart()
	same("killed and restarted")

	// Without its copy the node makes a CA of its own before it has the engine,
	// where the old one is: that counts from the next start on.
	n.Stop()
	require.NoError(t, os.RemoveAll(copies))
	n.Restart()
	n.Eventually(func() bool { return strings.Contains(n.Log(), "reload the configuration to use it") }, "the node says so")
	r = n.Reload(localCerts(""))
	require.Zero(t, r.Code, r.Err)
	require.Equal(t, ca, root(t, n))
	n.Stop()
	n.Restart()
	same("the copy was lost")

	// ... and with its copy alone it gives a new database what it knows.
	n.Stop()
	require.NoError(t, os.RemoveAll(n.Path("data", "meta")))
	n.Restart()
	same("the database was lost")
}

// TestStorageCommands: Caddy's commands that take certificates out and put them
// in work with the local copy.
func TestStorageCommands(t *testing.T) {
	parallel(t)
	n := Start(t, Config{Options: "storage oose {\n\t\tfolder $DIR/copies\n\t}\n\tlocal_certs", Sites: httpsSite})
	ca := root(t, n)
	awaitServed(t, n, ca)
	n.Stop()
	n.MustRun("storage", "export", "--config", n.Path("Caddyfile"), "--output", n.Path("all.tar"))

	other := Prepare(t, Config{Options: "storage oose {\n\t\tfolder $DIR/copies\n\t}\n\tlocal_certs", Sites: httpsSite})
	other.MustRun("storage", "import", "--config", other.Path("Caddyfile"), "--input", n.Path("all.tar"))
	other.Begin()
	require.Equal(t, ca, root(t, other))
	awaitServed(t, other, ca)
	other.Stop()
	require.NoError(t, os.RemoveAll(other.Path("copies")))
	other.Restart()
	other.Eventually(func() bool { return strings.Contains(other.Log(), "reload the configuration to use it") }, "what was imported went into the engine")
}

// TestCertificatesWithRedis: two nodes serve one name with one certificate.
func TestCertificatesWithRedis(t *testing.T) {
	parallel(t)
	server := redistest.Start(t)
	config := localCerts("engine redis " + server.URL())
	a := Start(t, config)
	ca := root(t, a)
	leaf := awaitServed(t, a, ca)

	config = localCerts("engine redis " + server.URL())
	b := Prepare(t, Config{Text: strings.Replace(config.String(), "name edge1", "name edge2", 1)})
	b.Begin()
	b.Eventually(func() bool { return strings.Contains(b.Log(), "reload the configuration to use it") }, "the second node has heard of the first one's CA")
	b.Stop()
	b.Restart()
	require.Equal(t, ca, root(t, b))
	require.Equal(t, leaf.SerialNumber, awaitServed(t, b, ca).SerialNumber)
}

// TestCertificatesWithRedisDown: a node starts while Redis is away, and serves
// HTTPS with the certificates that it had.
func TestCertificatesWithRedisDown(t *testing.T) {
	parallel(t)
	server := redistest.Start(t)
	n := Start(t, localCerts("engine redis "+server.URL()))
	ca := root(t, n)
	leaf := awaitServed(t, n, ca)
	n.Stop()
	server.Kill()
	n.spawn()
	require.Equal(t, leaf.SerialNumber, awaitServed(t, n, ca).SerialNumber, "with Redis down at start")
	require.Equal(t, ca, root(t, n))
	server.Restart()
	n.WaitReady()
	require.Equal(t, ca, root(t, n))
}
