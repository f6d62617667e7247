package swarm

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDNS(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		b, c := w.node("b", nil), w.node("c", nil)
		dns := &fakeDNS{}
		a := w.node("a", func(m *member) { m.opts.Resolver = dns }, "dns+srv://_oose._tcp.oose.example")
		pause(10 * time.Second)
		require.False(t, a.Ready(), "nothing was found")
		require.Empty(t, a.Connections())
		require.Equal(t, 1, a.logs.FilterMessageSnippet("looking up").Len(), "the same failure is told once")
		dns.set(func(d *fakeDNS) {
			d.srv = map[string][]*net.SRV{"_oose._tcp.oose.example": {{Target: "b.", Port: 5971}, {Target: "bad host", Port: 1}}}
		})
		pause(time.Minute)
		require.Equal(t, Active, a.to("b").State)
		require.True(t, a.Ready())

		dns.set(func(d *fakeDNS) { d.err = errors.New("no servers") })
		pause(10 * time.Minute)
		require.Equal(t, Active, a.to("b").State)
		b.kill()
		pause(40 * time.Minute)
		require.Equal(t, Lifesupport, a.to("b").State, "what was known stays known")
		dns.set(func(d *fakeDNS) { d.err, d.srv = nil, nil })
		pause(40 * time.Minute)
		require.Equal(t, Lifesupport, a.to("b").State)

		before := dns.asked
		dns.set(func(d *fakeDNS) {
			d.srv = map[string][]*net.SRV{"_oose._tcp.oose.example": {{Target: "c.", Port: 5971}}}
		})
		pause(2 * time.Minute)
		require.Equal(t, Active, a.to("c").State)
		require.Equal(t, Active, c.to("a").State)
		pause(10 * time.Minute)
		require.InDelta(t, before+12, dns.asked, 4, "once a minute")
		a.SetJoin(nil)
		asked := dns.asked
		pause(10 * time.Minute)
		require.Equal(t, asked, dns.asked, "no longer looked up")
		require.Equal(t, Active, a.to("c").State, "and still connected")
	})
}

// TestDNSAddresses: what DNS does not say is taken from the own address.
func TestDNSAddresses(t *testing.T) {
	for _, c := range []struct{ own, join, want string }{
		{"https://a:5971", "dns+a://nodes.oose.example", "https://10.0.0.2:5971"},
		{"https://a:5971", "dns+a://nodes.oose.example:7000", "https://10.0.0.2:7000"},
		{"http://a:80", "dns+a://nodes.oose.example", "http://10.0.0.2"},
		{"", "dns+a://nodes.oose.example", "https://10.0.0.2"},
		{"http://a:5971", "dns+srv://_oose._tcp.oose.example", "http://b:6000"},
		{"", "dns+srv://_oose._tcp.oose.example", "https://b:6000"},
	} {
		t.Run(c.own+" "+c.join, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				dns := &fakeDNS{
					hosts: map[string][]string{"nodes.oose.example": {"10.0.0.2", "fe80::1%eth0"}},
					srv:   map[string][]*net.SRV{"_oose._tcp.oose.example": {{Target: "b.", Port: 6000}}},
				}
				a := w.node("a", func(m *member) { m.self.Address, m.opts.Resolver = c.own, dns }, c.join)
				pause(time.Second)
				require.Len(t, a.Connections(), 1)
				require.Equal(t, c.want, a.Connections()[0].Address)
			})
		})
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"https://edge1.oose.example:5971", "https://edge1.oose.example:5971"},
		{"https://Edge1.OOSE.example:443/", "https://edge1.oose.example"},
		{"http://10.0.0.1:80", "http://10.0.0.1"},
		{"http://10.0.0.1:443", "http://10.0.0.1:443"},
		{"https://[2001:DB8::1]:5971", "https://[2001:db8::1]:5971"},
		{"https://[2001:db8::1]", "https://[2001:db8::1]"},
		{"", ""}, {"edge1:5971", ""}, {"ftp://edge1", ""}, {"https://", ""}, {"https://:5971", ""}, {"https://edge1:", ""},
		{"https://edge1:0", ""}, {"https://edge1:65536", ""}, {"https://edge1:-1", ""}, {"https://u:p@edge1", ""},
		{"https://edge1/x", ""}, {"https://edge1?x", ""}, {"https://edge1#x", ""}, {"https://ed ge", ""}, {"https://edge1\n", ""},
		{"https:edge1", ""}, {"https://[fe80::1%25eth0]", ""}, {"https://a\\b", ""},
	} {
		got, err := parseAddress(c.in)
		require.Equal(t, c.want, got, c.in)
		require.Equal(t, c.want == "", err != nil, c.in)
	}
}

func TestQueries(t *testing.T) {
	for _, c := range []struct {
		in   string
		want query
		ok   bool
		bad  bool
	}{
		{"dns+srv://_oose._tcp.oose.example", query{srv: true, name: "_oose._tcp.oose.example"}, true, false},
		{"dns+a://nodes.oose.example", query{name: "nodes.oose.example"}, true, false},
		{"dns+a://nodes.oose.example:5971", query{name: "nodes.oose.example", port: "5971"}, true, false},
		{"https://edge1", query{}, false, false},
		{"dns+a://", query{}, true, true},
		{"dns+a://x:0", query{}, true, true},
		{"dns+a://x:y", query{}, true, true},
		{"dns+srv://x:5", query{}, true, true},
		{"dns+srv://x/y", query{}, true, true},
	} {
		q, ok, err := parseQuery(c.in)
		require.Equal(t, c.ok, ok, c.in)
		require.Equal(t, c.bad, err != nil, c.in)
		if err == nil {
			require.Equal(t, c.want, q, c.in)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"https://edge1:5971", "http://[::1]:80/", "https://x:443", "dns+a://x:1", "dns+srv://_a._b.c", "https://%41", "http://a:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := parseAddress(s); err == nil {
			again, err := parseAddress(a)
			require.NoError(t, err, a)
			require.Equal(t, a, again)
			require.LessOrEqual(t, len(a), maxAddress)
		}
		if q, ok, err := parseQuery(s); ok && err == nil {
			require.NotEmpty(t, q.name)
			require.True(t, hostText(q.name))
		}
	})
}
