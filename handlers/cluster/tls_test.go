package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority is a private CA.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB, name string) *authority {
	a := &authority{t: t, next: 1}
	a.key = a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	return key
}

// issue returns a certificate and its key in PEM, for an address or a name.
func (a *authority) issue(name string, ips ...net.IP) (cert, key []byte) {
	a.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: ips,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	own := a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &own.PublicKey, a.key)
	require.NoError(a.t, err)
	private, err := x509.MarshalECPrivateKey(own)
	require.NoError(a.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// serveTLS starts a node over TLS that wants client certificates of an authority.
func serveTLS(t testing.TB, own, clients *authority, http2 bool, ips ...net.IP) *peer {
	t.Helper()
	pair, err := tls.X509KeyPair(own.issue("edge2.oose.example", ips...))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(clients.cert)
	p := newHandlerPeer(secret)
	p.Server = httptest.NewUnstartedServer(p)
	p.EnableHTTP2 = http2
	p.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

// files are those of a client's TLS.
type files struct{ trust, cert, key string }

func newFiles(t testing.TB) files {
	dir := t.TempDir()
	return files{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "node.pem"), filepath.Join(dir, "node.key")}
}

// write replaces the files, and sees to it that they look new.
func (f files) write(t testing.TB, age time.Duration, trust, cert, key []byte) {
	t.Helper()
	for name, data := range map[string][]byte{f.trust: trust, f.cert: cert, f.key: key} {
		require.NoError(t, os.WriteFile(name, data, 0o600))
		at := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(name, at, at))
	}
}

func TestMutualTLS(t *testing.T) {
	loopback := net.IPv4(127, 0, 0, 1)
	ca, clients := newAuthority(t, "servers"), newAuthority(t, "clients")
	f := newFiles(t)
	cert, key := clients.issue("edge1")
	f.write(t, time.Hour, ca.pem(), cert, key)
	for proto, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(proto, func(t *testing.T) {
			config, err := LoadTLS(f.trust, f.cert, f.key)
			require.NoError(t, err)
			p, c := serveTLS(t, ca, clients, http2, loopback), newClient(t, Options{TLS: config}, secret)
			text, _, err := call(t, c, p.URL+"/cluster/echo", nil)
			require.NoError(t, err)
			require.Equal(t, proto+" POST ", text)
			p.ahead.Store(int64(2 * time.Hour))
			_, _, err = call(t, c, p.URL+"/cluster/echo", nil)
			require.NoError(t, err)

			r := newClient(t, Options{TLS: config}, former)
			_, _, err = call(t, r, p.URL+"/cluster/echo", nil)
			require.ErrorIs(t, err, ErrOtherSecret)
		})
	}
	t.Run("a certificate for another address", func(t *testing.T) {
		config, err := LoadTLS(f.trust, f.cert, f.key)
		require.NoError(t, err)
		p, c := serveTLS(t, ca, clients, true, net.IPv4(127, 0, 0, 9)), newClient(t, Options{TLS: config}, secret)
		_, _, err = call(t, c, p.URL+"/cluster/echo", nil)
		require.ErrorContains(t, err, "127.0.0.1")
		require.Zero(t, p.calls.Load())
	})
	t.Run("an authority that is not trusted", func(t *testing.T) {
		config, err := LoadTLS(f.trust, f.cert, f.key)
		require.NoError(t, err)
		p, c := serveTLS(t, newAuthority(t, "strangers"), clients, true, loopback), newClient(t, Options{TLS: config}, secret)
		_, _, err = call(t, c, p.URL+"/cluster/echo", nil)
		require.ErrorContains(t, err, "unknown authority")
		_, _, err = call(t, newClient(t, Options{}, secret), p.URL+"/cluster/echo", nil)
		require.Error(t, err, "nor by the system")
		require.Zero(t, p.calls.Load())
	})
	t.Run("no client certificate", func(t *testing.T) {
		config, err := LoadTLS(f.trust, "", "")
		require.NoError(t, err)
		p := serveTLS(t, ca, clients, true, loopback)
		_, _, err = call(t, newClient(t, Options{TLS: config}, secret), p.URL+"/cluster/echo", nil)
		require.Error(t, err)
		require.Zero(t, p.calls.Load())
	})
}

// Renewed files are used by the next connection; half of a renewal changes nothing.
func TestRenewedFiles(t *testing.T) {
	loopback := net.IPv4(127, 0, 0, 1)
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	f := newFiles(t)
	cert, key := first.issue("edge1")
	f.write(t, 3*time.Hour, first.pem(), cert, key)
	config, err := LoadTLS(f.trust, f.cert, f.key)
	require.NoError(t, err)
	c := newClient(t, Options{TLS: config}, secret)
	reach := func(p *peer) error {
		c.Close() // no connection is left
		_, _, err := call(t, c, p.URL+"/cluster/echo", nil)
		return err
	}
	before, after := serveTLS(t, first, first, true, loopback), serveTLS(t, second, second, true, loopback)
	require.NoError(t, reach(before))
	require.Error(t, reach(after))

	f.write(t, 2*time.Hour, []byte("half a fi"), []byte("half"), nil)
	require.NoError(t, reach(before), "half of a renewal")

	cert, key = second.issue("edge1")
	f.write(t, time.Hour, second.pem(), cert, key)
	require.NoError(t, reach(after))
	require.Error(t, reach(before))
}

func TestLoadTLSRefuses(t *testing.T) {
	ca := newAuthority(t, "ca")
	f := newFiles(t)
	cert, key := ca.issue("edge1")
	_, other := ca.issue("edge2")
	f.write(t, 0, []byte("no PEM"), cert, other)
	for _, c := range []struct{ trust, cert, key, part string }{
		{f.trust, "", "", "holds no certificate"},
		{f.trust + "x", "", "", "reading the authorities"},
		{"", f.cert, "", "two files"},
		{"", "", f.key, "two files"},
		{"", f.cert, f.key, "reading the client certificate"},
		{"", f.cert + "x", f.key, "reading the client certificate"},
	} {
		_, err := LoadTLS(c.trust, c.cert, c.key)
		require.ErrorContains(t, err, c.part)
	}
	f.write(t, 0, ca.pem(), cert, key)
	config, err := LoadTLS("", f.cert, f.key)
	require.NoError(t, err)
	require.False(t, config.InsecureSkipVerify)
	// By whom else the configuration is used: nobody passes without a name to check.
	config, err = LoadTLS(f.trust, "", "")
	require.NoError(t, err)
	require.Error(t, config.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{ca.cert}}))
}
