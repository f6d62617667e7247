package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
)

// discovered provisions a Caddyfile and tells what was found in its routes.
func discovered(t *testing.T, w *world, text string) found {
	t.Helper()
	var cfg caddy.Config
	require.NoError(t, json.Unmarshal(w.caddyfile(text), &cfg))
	ctx, err := caddy.ProvisionContext(&cfg)
	require.NoError(t, err)
	loaded, err := ctx.App("oose")
	require.NoError(t, err)
	return loaded.(*App).discover()
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, text, url string
		stores          map[string]string
	}{
		{"no handler", "\toose\n}\n:5971 {\n\trespond x\n}\n", "", nil},
		{"port alone", "}\n:5971 {\n\toose_purchase\n}\n", "http://127.0.0.1:5971", nil},
		{"http port alone", "}\nhttp://:5971 {\n\toose_purchase\n}\n", "http://127.0.0.1:5971", nil},
		{"loopback", "}\nhttp://127.0.0.1:5971 {\n\toose_purchase\n}\n", "http://127.0.0.1:5971", nil},
		{"https host", "\tauto_https disable_certs\n}\ncdn.oose.example {\n\toose_purchase\n}\n", "https://cdn.oose.example", nil},
		{"https host and port", "\tauto_https disable_certs\n}\nhttps://cdn.oose.example:8443 {\n\toose_purchase\n}\n", "https://cdn.oose.example:8443", nil},
		{"http host", "}\nhttp://cdn.oose.example {\n\toose_purchase\n}\n", "http://cdn.oose.example", nil},
		{"wildcard first", "}\nhttp://*.oose.example, http://cdn.oose.example {\n\toose_purchase\n}\n", "http://cdn.oose.example", nil},
		{"purchase before prism", "}\nhttp://api.oose.example {\n\toose_prism\n}\nhttp://cdn.oose.example {\n\toose_purchase\n}\n", "http://cdn.oose.example", nil},
		{"prism alone", "}\nhttp://api.oose.example {\n\toose_prism\n}\n", "http://api.oose.example", nil},
		{"within handle", "}\nhttp://cdn.oose.example {\n\thandle /x/* {\n\t\toose_purchase\n\t}\n}\n", "http://cdn.oose.example", nil},
		{"configured", "\toose {\n\t\turl https://links.oose.example\n\t}\n}\nhttp://cdn.oose.example {\n\toose_purchase\n}\n", "http://cdn.oose.example", nil},
		{
			"stores", "}\nhttp://om101.oose.example:5972 {\n\toose_store om101 DIR/a\n}\nhttp://:5973 {\n\toose_store om102 DIR/b\n}\nhttp://*.oose.example {\n\toose_store\n}\n", "",
			map[string]string{"om101": "http://om101.oose.example:5972"},
		},
		{
			"host of a matcher", "}\nhttp://:5972 {\n\t@om host *.oose.example om101.oose.example\n\thandle @om {\n\t\toose_store om101 DIR/a\n\t}\n}\n", "",
			map[string]string{"om101": "http://om101.oose.example:5972"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := discovered(t, w, tt.text)
			require.Equal(t, tt.url, f.url)
			require.Len(t, f.stores, len(tt.stores), fmt.Sprint(f.stores))
			for name, address := range tt.stores {
				require.Equal(t, address, f.stores[name])
			}
		})
	}
}

func TestAdminEndpoint(t *testing.T) {
	denied := adminEndpoint()
	require.True(t, denied(netip.MustParseAddrPort("127.0.0.1:2019")))
	require.True(t, denied(netip.MustParseAddrPort("[::1]:2019")))
	require.True(t, denied(netip.MustParseAddrPort("[::ffff:127.0.0.1]:2019")))
	require.False(t, denied(netip.MustParseAddrPort("127.0.0.1:80")))
	require.False(t, denied(netip.MustParseAddrPort("10.0.0.1:2019")))
}
