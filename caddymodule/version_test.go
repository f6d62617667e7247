package caddymodule

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersionOf(t *testing.T) {
	for name, tt := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"our own binary":   {debug.BuildInfo{Main: debug.Module{Path: modulePath, Version: "v1.2.3"}}, "v1.2.3"},
		"a working tree":   {debug.BuildInfo{Main: debug.Module{Path: modulePath, Version: "(devel)"}}, "devel"},
		"built by xcaddy":  {debug.BuildInfo{Main: debug.Module{Path: "caddy"}, Deps: []*debug.Module{{Path: modulePath, Version: "v0.1.0"}}}, "v0.1.0"},
		"another program":  {debug.BuildInfo{Main: debug.Module{Path: "caddy", Version: "v2.0.0"}}, "devel"},
		"without a module": {debug.BuildInfo{}, "devel"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tt.want, versionOf(&tt.info)) })
	}
	require.NotEmpty(t, Version())
}
