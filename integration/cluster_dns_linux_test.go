package integration

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// dnsServer answers with the records that a test gives it, and knows no others.
type dnsServer struct {
	address string

	mu      sync.Mutex // guards what follows
	records map[string][]dnsmessage.ResourceBody
	asked   map[string]int
}

// startDNS serves DNS at port 53 of an address of this machine until the test
// ends: resolv.conf names no ports. It needs root.
func startDNS(t testing.TB, address string) *dnsServer {
	t.Helper()
	conn, err := net.ListenPacket("udp4", net.JoinHostPort(address, "53"))
	require.NoError(t, err, "this test serves DNS: run it as root")
	d := &dnsServer{address: address, asked: map[string]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		question := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(question)
			if err != nil {
				return
			}
			if answer, err := d.answer(question[:n]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return d
}

// answer gives all records of the name and type asked for; none are no error.
func (d *dnsServer) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range m.Questions {
		name := q.Name.String()
		d.asked[name]++
		for _, body := range d.records[name] {
			r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type, TTL: 1}, Body: body}
			switch body.(type) {
			case *dnsmessage.AResource:
				if q.Type == dnsmessage.TypeA {
					m.Answers = append(m.Answers, r)
				}
			case *dnsmessage.SRVResource:
				if q.Type == dnsmessage.TypeSRV {
					m.Answers = append(m.Answers, r)
				}
			}
		}
	}
	return m.Pack()
}

// set replaces all records.
func (d *dnsServer) set(records map[string][]dnsmessage.ResourceBody) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records = records
}

// askedFor returns how often a name was asked for.
func (d *dnsServer) askedFor(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[name]
}

// service is the SRV record of a node's plain site.
func service(n *Node, host string) dnsmessage.ResourceBody {
	return &dnsmessage.SRVResource{Priority: 1, Weight: 1, Port: uint16(n.Port), Target: dnsmessage.MustNewName(host)}
}

// host is the A record of a node.
func host(n *Node) dnsmessage.ResourceBody {
	return &dnsmessage.AResource{A: [4]byte(net.ParseIP(n.Host).To4())}
}

// usesDNS has a node ask a server for all names.
func usesDNS(t testing.TB, d *dnsServer) Option {
	return func(n *Node) {
		file := n.Path("resolv.conf")
		require.NoError(t, os.WriteFile(file, []byte("nameserver "+d.address+"\noptions timeout:1 attempts:2\n"), 0o644))
		n.mounts = append(n.mounts, file+" /etc/resolv.conf")
	}
}

// Nodes that know each other by DNS alone find each other once it names them,
// stay together while it names nobody, and find who is named later.
func TestClusterDNS(t *testing.T) {
	early(t)
	const srv, a = "_oose._tcp.nodes.test.", "nodes.test."
	d := startDNS(t, "127.0.3.53")
	c := &Cluster{t: t, Nodes: map[string]*Node{}}
	prepare := func(i int, join func(one *Node) string) *Node {
		name := fmt.Sprintf("edge%d", i)
		n := Prepare(t, Config{Text: "# not yet"}, WithHost(fmt.Sprintf("127.0.3.%d", i)), usesDNS(t, d))
		// Who finds it by SRV calls it by the name that stands there.
		n.Configure(Config{Text: strings.Replace(edgeText(name, join(c.Nodes["edge1"]), ""), "http://$HOST:$PORT {",
			"http://$HOST:$PORT, http://"+name+".nodes.test:$PORT {", 1)})
		return n
	}
	nobody := func(*Node) string { return "" }
	one := prepare(1, nobody)
	c.Nodes["edge1"] = one
	c.Nodes["edge2"] = prepare(2, func(*Node) string { return "join dns+srv://" + strings.TrimSuffix(srv, ".") })
	c.Nodes["edge3"] = prepare(3, func(one *Node) string {
		return "join dns+a://" + strings.TrimSuffix(a, ".") + ":" + strconv.Itoa(one.Port)
	})
	late := prepare(4, nobody)

	one.Begin()
	late.Begin()
	for name, asked := range map[string]string{"edge2": srv, "edge3": a} {
		n := c.Nodes[name]
		n.SpawnOnly()
		n.Eventually(func() bool { return d.askedFor(asked) > 1 }, "DNS is asked again when it returned nothing")
		require.NotEqual(t, http.StatusOK, pingStatus(t, n), "who waits for its cluster is not ready")
	}
	d.set(map[string][]dnsmessage.ResourceBody{srv: {service(one, "edge1.nodes.test.")}, "edge1.nodes.test.": {host(one)}, a: {host(one)}})
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	c.waitPeers()
	api := one.Login()
	hash := api.Upload("f.bin", "sha256", strings.NewReader("hello"))
	served := func() {
		t.Helper()
		token := api.Purchase(hash, "bin", nil).Token
		for name := range c.Nodes {
			require.Equal(t, http.StatusOK, c.get(name, token), name)
		}
	}
	served()

	// Names that worked are looked up every minute.
	d.set(nil)
	before := d.askedFor(srv)
	require.Eventually(t, func() bool { return d.askedFor(srv) > before+1 }, 3*patience, 100*time.Millisecond, "DNS is asked again, and again when it returns nothing")
	c.waitPeers()
	served()
	d.set(map[string][]dnsmessage.ResourceBody{
		srv:                 {service(one, "edge1.nodes.test."), service(late, "edge4.nodes.test.")},
		"edge1.nodes.test.": {host(one)}, "edge4.nodes.test.": {host(late)},
	})
	c.Nodes["edge4"] = late
	require.Eventually(t, func() bool {
		for _, n := range c.Nodes {
			if len(c.Peers(n)) < 2*len(c.Nodes) {
				return false
			}
		}
		return true
	}, 3*patience, 100*time.Millisecond, "who is named later is found, and all know it")
	c.waitPeers()
	served()
	c.agree()
}
