package integration

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/integration/freeport"
)

// buildPebble builds the ACME server Pebble and its DNS server, as
// tools/pebble/go.mod pins them.
var buildPebble = sync.OnceValues(func() (string, error) {
	folder := filepath.Join(shared, "pebble")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "-C", filepath.Join("..", "tools", "pebble"), "build", "-o", folder, "tool").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building pebble: %w: %s", err, out)
	}
	return folder, nil
})

// acme is a running ACME server.
type acme struct {
	directory string // its URL
	ca        string // the file of its own certificate
	manage    string // URL of its management
	http      *http.Client
	log       *lockedBuffer
}

// startACME starts Pebble, which checks names at a port of 127.0.0.1.
func startACME(t *testing.T, tlsPort int) *acme {
	t.Helper()
	folder, err := buildPebble()
	require.NoError(t, err)
	own := t.TempDir()
	ca := selfSigned(t, own)
	listen, manage, dns, control := freeport.Get(t), freeport.Get(t), freeport.Get(t), freeport.Get(t)
	config := filepath.Join(own, "pebble.json")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `{"pebble": {"listenAddress": "127.0.0.1:%d", "managementListenAddress": "127.0.0.1:%d",
		"certificate": %q, "privateKey": %q, "httpPort": 1, "tlsPort": %d}}`, listen, manage, ca, filepath.Join(own, "key.pem"), tlsPort), 0o600))
	a := &acme{
		directory: fmt.Sprintf("https://127.0.0.1:%d/dir", listen), ca: ca,
		manage: fmt.Sprintf("https://127.0.0.1:%d", manage), log: new(lockedBuffer),
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust(t, ca)}}},
	}
	t.Cleanup(a.http.CloseIdleConnections)
	background(t, a.log, filepath.Join(folder, "pebble-challtestsrv"), "-http01", "", "-https01", "", "-doh", "", "-tlsalpn01", "",
		"-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", fmt.Sprintf("127.0.0.1:%d", dns), "-management", fmt.Sprintf("127.0.0.1:%d", control))
	background(t, a.log, filepath.Join(folder, "pebble"), "-config", config, "-dnsserver", fmt.Sprintf("127.0.0.1:%d", dns))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the ACME server:\n%s", a.log)
		}
	})
	eventually(t, func() bool {
		res, err := a.http.Get(a.directory)
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, "the ACME server answers")
	return a
}

// background runs a program until the test ends.
func background(t *testing.T, log *lockedBuffer, program string, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
	})
}

// lockedBuffer takes the output of several programs.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// selfSigned makes a certificate for 127.0.0.1 in cert.pem and key.pem.
func selfSigned(t *testing.T, folder string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "a test's ACME server"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	cert := filepath.Join(folder, "cert.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return cert
}

// TestCertificatesOnDemand gets a certificate from an ACME server for a store's
// name at its first handshake, and for no name that is not a peer's.
func TestCertificatesOnDemand(t *testing.T) {
	parallel(t)
	n := Prepare(t, Config{})
	ca := startACME(t, n.TLS)
	n.Configure(Config{
		Options: fmt.Sprintf("https_port %d\n on_demand_tls {\n permission oose\n }", n.TLS),
		Sites: fmt.Sprintf(`https://*.oose.test {
	bind 127.0.0.1
	tls {
		on_demand
		issuer acme {
			dir %s
			trusted_roots %s
			disable_http_challenge
		}
	}
	oose_store
}
`, ca.directory, ca.ca),
	})
	n.Begin()
	data := []byte("over a certificate made on demand")
	a := n.Login()
	hash := a.Upload("f.zip", "", bytes.NewReader(data))
	token := a.Purchase(hash, "zip", nil).Token

	_, root := fetch(t, ca.http, http.MethodGet, ca.manage+"/roots/0")
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(root))
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: dialLoopback}}
	t.Cleanup(client.CloseIdleConnections)
	for _, name := range []string{"disk1", "disk2"} {
		base := fmt.Sprintf("https://%s.oose.test:%d", name, n.TLS)
		require.NoError(t, getExactly(client, base+"/play/"+token+"/f.zip", data), name)
	}
	for _, name := range []string{"nobody.oose.test", "disk1.evil.test", "a.disk1.oose.test"} {
		conn, err := tls.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", n.TLS), &tls.Config{RootCAs: roots, ServerName: name})
		if err == nil {
			conn.Close()
		}
		require.Error(t, err, name)
		require.NotContains(t, ca.log.String(), name, "the ACME server was not even asked")
	}
	n.Stop()
	n.Restart()
	orders := bytes.Count([]byte(ca.log.String()), []byte("Issued certificate"))
	require.NoError(t, getExactly(client, fmt.Sprintf("https://disk1.oose.test:%d/play/%s/f.zip", n.TLS, token), data), "also after a restart")
	require.Equal(t, orders, bytes.Count([]byte(ca.log.String()), []byte("Issued certificate")), "from what was kept")
}
