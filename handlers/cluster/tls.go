package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// LoadTLS returns how calls go over TLS: to servers whose certificates come from
// the authorities in trustFile (PEM; "": those of the system), with the client
// certificate in certFile and keyFile (PEM; "": none). Files that were renewed
// are picked up by the next connection; those that can't be read then leave
// things as they were.
func LoadTLS(trustFile, certFile, keyFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if (certFile == "") != (keyFile == "") {
		return nil, errors.New("a client certificate needs two files: the certificate and its key")
	}
	if trustFile != "" {
		roots := &renewed[*x509.CertPool]{files: []string{trustFile}, load: func() (*x509.CertPool, error) { return loadRoots(trustFile) }}
		if _, err := roots.get(); err != nil {
			return nil, err
		}
		// The authorities may change while the configuration lives, so that the
		// whole check of the server is made here.
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(state tls.ConnectionState) error { return verify(state, roots) }
	}
	if certFile != "" {
		own := &renewed[*tls.Certificate]{files: []string{certFile, keyFile}, load: func() (*tls.Certificate, error) { return loadPair(certFile, keyFile) }}
		if _, err := own.get(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get() }
	}
	return config, nil
}

// dialTLS returns what connects over TLS, to HTTP/2 where the server has it.
func dialTLS(dialer *net.Dialer, config *tls.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("the address %q: %w", address, err)
		}
		own := config.Clone()
		own.ServerName, own.NextProtos = host, []string{"h2", "http/1.1"}
		if check := own.VerifyConnection; check != nil {
			own.VerifyConnection = func(state tls.ConnectionState) error {
				state.ServerName = host // which for an IP address is not among what was sent
				return check(state)
			}
		}
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(conn, own)
		ctx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // it is of no use
			return nil, err
		}
		return secure, nil
	}
}

// verify does what crypto/tls does where RootCAs is set.
func verify(state tls.ConnectionState, roots *renewed[*x509.CertPool]) error {
	pool, err := roots.get()
	if err != nil {
		return err
	}
	if len(state.PeerCertificates) == 0 || state.ServerName == "" {
		return errors.New("the other node can't be checked: it showed no certificate, or has no name")
	}
	options := x509.VerifyOptions{Roots: pool, DNSName: state.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return fmt.Errorf("the other node's certificate: %w", err)
	}
	return nil
}

func loadRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities to trust: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the authorities to trust: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

func loadPair(certFile, keyFile string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the client certificate: %w", err)
	}
	return &pair, nil
}

// renewed is what was read from files, and is read again when they changed.
type renewed[V any] struct {
	files []string
	load  func() (V, error)

	mu    sync.Mutex
	seen  []stamp
	value V
	read  bool
}

// stamp tells whether a file is still the one that was read.
type stamp struct {
	size     int64
	modified time.Time
}

// get returns what the files hold, or held when they could last be read. Its
// error is that of the first reading.
func (r *renewed[V]) get() (V, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.look()
	if r.read && equal(seen, r.seen) {
		return r.value, nil
	}
	value, err := r.load()
	if err != nil {
		if r.read { // half of a renewal, perhaps: the next connection looks again
			return r.value, nil
		}
		return value, err
	}
	r.value, r.seen, r.read = value, seen, true
	return value, nil
}

func (r *renewed[V]) look() []stamp {
	stamps := make([]stamp, len(r.files))
	for i, file := range r.files {
		if info, err := os.Stat(file); err == nil {
			stamps[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return stamps
}

func equal(a, b []stamp) bool {
	for i := range a {
		if a[i].size != b[i].size || !a[i].modified.Equal(b[i].modified) {
			return false
		}
	}
	return len(a) == len(b)
}
