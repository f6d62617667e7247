package caddymodule

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// found is what the http app's servers and routes tell about where our
// handlers are reached.
type found struct {
	url    string            // of the handler of purchases; of a listener where no host is named
	stores map[string]string // by store name, where a host is named
	node   string            // of any of them, where a host is named: there other nodes reach this one
}

// site is where one of our handlers stands.
type site struct {
	base  string // web address
	named bool   // by a host of the routes, not by the listener alone
}

// discover looks for our handlers in the http app. It never asks a request's
// Host header: links must not be what a client says.
func (app *App) discover() found {
	result := found{stores: make(map[string]string)}
	loaded, err := app.ctx.AppIfConfigured("http")
	if err != nil {
		return result
	}
	http, ok := loaded.(*caddyhttp.App)
	if !ok {
		return result
	}
	s := search{app: app, http: http, purchases: []site{}, roles: make(map[string]uint8)}
	for _, name := range slices.Sorted(maps.Keys(http.Servers)) {
		server := http.Servers[name]
		s.server = server
		s.routes(server.Routes, "")
		for _, route := range slices.Sorted(maps.Keys(server.NamedRoutes)) {
			s.routes(caddyhttp.RouteList{*server.NamedRoutes[route]}, "")
		}
	}
	result.url = best(s.purchases)
	if result.url == "" {
		result.url = best(s.prisms)
	}
	if i := slices.IndexFunc(s.all, func(x site) bool { return x.named }); i >= 0 {
		result.node = s.all[i].base
	}
	for name, sites := range s.stores {
		if address := best(sites); sites[0].named || slices.ContainsFunc(sites, func(x site) bool { return x.named }) {
			result.stores[name] = address
		}
	}
	return result
}

// best is the first site with a host, else the first one.
func best(sites []site) string {
	for _, s := range sites {
		if s.named {
			return s.base
		}
	}
	if len(sites) > 0 {
		return sites[0].base
	}
	return ""
}

// search walks the routes of the servers.
type search struct {
	app               *App
	http              *caddyhttp.App
	server            *caddyhttp.Server
	purchases, prisms []site
	stores            map[string][]site
	all               []site
	roles             map[string]uint8 // by web address: which roles stand there
}

const (
	hasPrism uint8 = 1 << iota
	hasStore
)

func (s *search) routes(routes caddyhttp.RouteList, host string) {
	for i := range routes {
		inner := host
		if h := firstHost(routes[i].MatcherSets); h != "" {
			inner = h
		}
		for _, handler := range routes[i].Handlers {
			s.handler(handler, inner)
		}
	}
}

func (s *search) handler(handler caddyhttp.MiddlewareHandler, host string) {
	switch h := handler.(type) {
	case *caddyhttp.Subroute:
		s.routes(h.Routes, host)
	case *Purchase:
		at := s.site(host)
		s.all = append(s.all, at)
		s.purchases = append(s.purchases, at)
	case *Prism:
		at := s.site(host)
		s.all = append(s.all, at)
		s.prisms = append(s.prisms, at)
		s.share(at, hasPrism)
	case *Store:
		at := s.site(host)
		s.all = append(s.all, at)
		s.share(at, hasStore)
		if h.Name != "" && at.base != "" {
			if s.stores == nil {
				s.stores = make(map[string][]site)
			}
			s.stores[h.Name] = append(s.stores[h.Name], at)
		}
	}
}

// share warns of a prism and a store in one site: they share paths.
func (s *search) share(at site, role uint8) {
	before := s.roles[at.base]
	s.roles[at.base] |= role
	if s.roles[at.base] == hasPrism|hasStore && before != s.roles[at.base] {
		s.app.log.Warn("a prism and a store stand in one site and share paths: the one in front answers those", zap.String("site", at.base))
	}
}

// site tells the web address of a host on the current server.
func (s *search) site(host string) site {
	for _, listen := range s.server.Listen {
		address, err := caddy.ParseNetworkAddress(listen)
		if err != nil || address.IsUnixNetwork() || address.StartPort == 0 {
			continue
		}
		return s.siteAt(address, host)
	}
	return site{}
}

func (s *search) siteAt(address caddy.NetworkAddress, host string) site {
	scheme, standard := "http", 80
	if len(s.server.TLSConnPolicies) > 0 {
		scheme, standard = "https", 443
	}
	named := host != ""
	if !named {
		host = strings.Trim(address.Host, "[]")
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
	}
	if int(address.StartPort) != standard {
		host = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(address.StartPort)))
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return site{base: scheme + "://" + host, named: named}
}

// firstHost returns the first host without a wildcard that a route matches, ""
// where it names none.
func firstHost(sets caddyhttp.MatcherSets) string {
	for _, set := range sets {
		for _, matcher := range set {
			var hosts caddyhttp.MatchHost
			switch m := matcher.(type) {
			case caddyhttp.MatchHost:
				hosts = m
			case *caddyhttp.MatchHost:
				hosts = *m
			}
			for _, h := range hosts {
				if h != "" && !strings.ContainsAny(h, "*{") {
					return h
				}
			}
		}
	}
	return ""
}

// adminEndpoint tells the addresses of Caddy's own admin API, which a client's
// fetch-by-URL must never reach. A configuration does not tell its modules of
// another admin address; the default one is known.
func adminEndpoint() func(netip.AddrPort) bool {
	admin, err := caddy.ParseNetworkAddress(caddy.DefaultAdminListen)
	if err != nil || admin.IsUnixNetwork() {
		return nil
	}
	port := uint16(admin.StartPort)
	return func(a netip.AddrPort) bool {
		ip := a.Addr().Unmap()
		return a.Port() == port && (ip.IsLoopback() || ip.IsUnspecified())
	}
}
