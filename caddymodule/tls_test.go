package caddymodule

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/stretchr/testify/require"
)

func TestPermissionInCaddyfile(t *testing.T) {
	got, err := adapt(t, "{\n\ton_demand_tls {\n\t\tpermission oose\n\t}\n}\nhttps://*.oose.test {\n\ttls {\n\t\ton_demand\n\t}\n}\n")
	require.NoError(t, err)
	require.Contains(t, string(got), `"on_demand":{"permission":{"module":"oose"}}`)

	err = new(Permission).UnmarshalCaddyfile(caddyfile.NewTestDispenser("oose all"))
	require.ErrorContains(t, err, "takes no arguments")
}

func TestPermissionNeedsDomain(t *testing.T) {
	err := caddy.Validate(&caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true},
		AppsRaw: caddy.ModuleMap{
			"oose": []byte(fmt.Sprintf(`{"data":%q}`, t.TempDir())),
			"tls":  []byte(`{"automation":{"on_demand":{"permission":{"module":"oose"}}}}`),
		},
	})
	require.ErrorContains(t, err, "needs the domain")
}

func TestLivePermission(t *testing.T) {
	startLive(t)
	app, err := activeApp()
	require.NoError(t, err)
	p := &Permission{app: app}
	require.Eventually(t, func() bool { return p.CertificateAllowed(t.Context(), "prism1.oose.test") == nil }, 10*time.Second, 10*time.Millisecond)
	for name, allowed := range map[string]bool{
		"om101.oose.test":          true,
		"OM102.oose.test":          true,
		"prism1.oose.test":         true,
		"om103.oose.test":          false,
		"oose.test":                false,
		"om101.oose.test.":         false,
		"a.om101.oose.test":        false,
		"om101.oose.test.evil":     false,
		"om101xoose.test":          false,
		"prism1:om101.oose.test":   false,
		"":                         false,
		"*.oose.test":              false,
		"om101.oose.test\x00.evil": false,
	} {
		err := p.CertificateAllowed(t.Context(), name)
		if allowed {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, caddytls.ErrPermissionDenied, name)
		}
	}
}
