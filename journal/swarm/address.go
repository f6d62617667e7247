package swarm

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const maxAddress = 300 // characters of an address

var errAddress = errors.New("not the address of a node, write it like https://edge2.oose.example:5971")

// parseAddress reads a node's address into the one form under which it is
// known: scheme, host in lower case, port unless it is the scheme's own.
func parseAddress(text string) (string, error) {
	if len(text) > maxAddress {
		return "", errAddress
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return "", fmt.Errorf("%.80q: %w", text, errAddress)
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("%.80q: %w", text, errAddress)
	}
	host := strings.ToLower(u.Hostname())
	if host == "" || !hostText(host) || strings.HasSuffix(u.Host, ":") {
		return "", fmt.Errorf("%.80q: %w", text, errAddress)
	}
	port := u.Port()
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return "", fmt.Errorf("%.80q: %w", text, errAddress)
	}
	return makeAddress(u.Scheme, host, port), nil
}

// hostText tells whether a host name or IP address has only characters that
// such have, so that it can stand in a URL and a log as it is.
func hostText(host string) bool {
	for _, c := range []byte(host) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".-_:", c) >= 0
		if !ok {
			return false
		}
	}
	return true
}

func makeAddress(scheme, host, port string) string {
	if port == "" || port == standardPort(scheme) {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

func standardPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}

// A query is a name to look nodes up by.
type query struct {
	srv  bool // of SRV records, else of addresses
	name string
	port string // of addresses, "": as in this node's own address
}

var errQuery = errors.New("nothing to look up, write it like dns+srv://_oose._tcp.oose.example or dns+a://nodes.oose.example:5971")

// parseQuery reads a dns+srv:// or dns+a:// address; ok tells that it is one.
func parseQuery(text string) (q query, ok bool, err error) {
	name, srv := strings.CutPrefix(text, "dns+srv://")
	if !srv {
		if name, ok = strings.CutPrefix(text, "dns+a://"); !ok {
			return q, false, nil
		}
	}
	q = query{srv: srv, name: name}
	if host, port, err := net.SplitHostPort(name); err == nil && !srv {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return q, true, fmt.Errorf("%.80q: %w", text, errQuery)
		}
		q.name, q.port = host, port
	}
	if q.name == "" || len(q.name) > maxAddress || !hostText(q.name) || strings.Contains(q.name, ":") {
		return q, true, fmt.Errorf("%.80q: %w", text, errQuery)
	}
	return q, true, nil
}
