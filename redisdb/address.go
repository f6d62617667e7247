package redisdb

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// mode is how the servers at an address are organised.
type mode uint8

const (
	single mode = iota
	sentinels
	cluster
)

func (m mode) String() string { return [...]string{"single", "sentinel", "cluster"}[m] }

// address is what an address says.
type address struct {
	mode     mode
	tls      bool
	hosts    []string // host:port
	user     string
	password string
	db       int

	master           string // of sentinels
	sentinelUser     string
	sentinelPassword string

	ca, cert, key string // files
}

// Check tells what is wrong with an address, as far as its text shows it. An
// address is one of
//
//	redis://[user]:password@host:6379/0
//	redis+sentinel://[user]:password@host:26379,host:26379/0?master=oose
//	redis+cluster://[user]:password@host:6379,host:6379
//
// with rediss for TLS. After the question mark: master, sentinel_user and
// sentinel_password for the sentinels' own login; ca, cert and key (files) for
// TLS. Its errors never repeat a password.
func Check(url string) error {
	_, err := parseAddress(url)
	return err
}

var errAddress = errors.New("address of redis")

func badAddress(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errAddress, fmt.Sprintf(format, args...))
}

func parseAddress(text string) (address, error) {
	var a address
	// net/url refuses several hosts with ports, and repeats passwords in its errors.
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return a, badAddress("it begins with redis://, redis+sentinel:// or redis+cluster:// (rediss with TLS)")
	}
	secure, organised, _ := strings.Cut(scheme, "+")
	a.tls = secure == "rediss"
	if secure != "redis" && secure != "rediss" {
		return a, badAddress("%.20q is no scheme of it, use redis or rediss", scheme)
	}
	switch organised {
	case "":
		if strings.Contains(scheme, "+") {
			return a, badAddress("%.20q is no scheme of it", scheme)
		}
	case "sentinel":
		a.mode = sentinels
	case "cluster":
		a.mode = cluster
	default:
		return a, badAddress("%.20q is no scheme of it, after the + stands sentinel or cluster", scheme)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, db, _ := strings.Cut(rest, "/")
	if err := a.setLogin(&authority); err != nil {
		return a, err
	}
	if err := a.setHosts(authority); err != nil {
		return a, err
	}
	if err := a.setDB(db); err != nil {
		return a, err
	}
	return a, a.setQuery(query)
}

// setLogin takes the login off the front of an authority.
func (a *address) setLogin(authority *string) error {
	at := strings.LastIndexByte(*authority, '@')
	if at < 0 {
		return nil
	}
	user, password, _ := strings.Cut((*authority)[:at], ":")
	*authority = (*authority)[at+1:]
	var err1, err2 error
	a.user, err1 = url.PathUnescape(user)
	a.password, err2 = url.PathUnescape(password)
	if err1 != nil || err2 != nil {
		return badAddress("the login before the @ has a %% that is no escape, write %%25 for it")
	}
	return nil
}

func (a *address) setHosts(authority string) error {
	port := "6379"
	if a.mode == sentinels {
		port = "26379"
	}
	for host := range strings.SplitSeq(authority, ",") {
		if strings.IndexByte(host, ':') < 0 || strings.HasSuffix(host, "]") {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		name, number, err := net.SplitHostPort(host)
		n, err2 := strconv.Atoi(number)
		if err != nil || err2 != nil || n < 1 || n > 65535 || name == "" || strings.ContainsAny(name, " /\\@#\t\r\n") {
			return badAddress("a host is written like r1:6379, several with commas between")
		}
		a.hosts = append(a.hosts, host)
	}
	if a.mode == single && len(a.hosts) > 1 {
		return badAddress("%d hosts: for a Cluster begin with redis+cluster://, for sentinels with redis+sentinel://", len(a.hosts))
	}
	return nil
}

func (a *address) setDB(text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1<<16 {
		return badAddress("after the host comes /<number of the database>, such as /0")
	}
	if a.mode == cluster && n != 0 {
		return badAddress("a Cluster has the database 0 only")
	}
	a.db = n
	return nil
}

func (a *address) setQuery(text string) error {
	values, err := url.ParseQuery(text)
	if err != nil {
		return badAddress("what comes after the ? is not name=value&name=value")
	}
	known := map[string]*string{"ca": &a.ca, "cert": &a.cert, "key": &a.key}
	if a.mode == sentinels {
		known["master"], known["sentinel_user"], known["sentinel_password"] = &a.master, &a.sentinelUser, &a.sentinelPassword
	}
	for name, given := range values {
		into := known[name]
		if into == nil {
			return badAddress("after the ?, %.40q is unknown here", name)
		}
		if len(given) != 1 || given[0] == "" {
			return badAddress("after the ?, %s has one value", name)
		}
		*into = given[0]
	}
	switch {
	case a.mode == sentinels && a.master == "":
		return badAddress("with sentinels it names the master, as in redis+sentinel://r1:26379,r2:26379/0?master=oose")
	case !a.tls && (a.ca != "" || a.cert != "" || a.key != ""):
		return badAddress("ca, cert and key are for TLS, begin with rediss")
	case (a.cert == "") != (a.key == ""):
		return badAddress("cert and key go together")
	}
	return nil
}

// tlsConfig reads the files that the address names; nil without TLS.
func (a *address) tlsConfig() (*tls.Config, error) {
	if !a.tls {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.ca != "" {
		pem, err := os.ReadFile(a.ca)
		if err != nil {
			return nil, fmt.Errorf("reading the CA of redis: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the CA of redis: %s holds no certificate", a.ca)
		}
	}
	if a.cert != "" {
		pair, err := tls.LoadX509KeyPair(a.cert, a.key)
		if err != nil {
			return nil, fmt.Errorf("reading the certificate for redis: %w", err)
		}
		cfg.Certificates = slices.Clip([]tls.Certificate{pair})
	}
	return cfg, nil
}
