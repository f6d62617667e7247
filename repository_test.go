package oose_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/caddymodule"
)

// TestXcaddyAgreesWithGoMod keeps xcaddy.json, from which others build, equal
// to go.mod, from which we do.
func TestXcaddyAgreesWithGoMod(t *testing.T) {
	text, err := os.ReadFile("xcaddy.json")
	require.NoError(t, err)
	var xcaddy struct {
		Caddy   string `json:"caddy_version"`
		Plugins []struct{ Module, Version, Replace string }
		Output  string
	}
	require.NoError(t, json.Unmarshal(text, &xcaddy))
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	require.NoError(t, err)
	var mod struct {
		Module  struct{ Path string }
		Require []struct{ Path, Version string }
	}
	require.NoError(t, json.Unmarshal(out, &mod))
	for _, r := range mod.Require {
		if r.Path == "github.com/caddyserver/caddy/v2" {
			require.Equal(t, r.Version, xcaddy.Caddy)
		}
	}
	require.NotEmpty(t, xcaddy.Caddy)
	require.Len(t, xcaddy.Plugins, 1)
	require.Equal(t, mod.Module.Path, xcaddy.Plugins[0].Module)
	require.Equal(t, ".", xcaddy.Plugins[0].Replace)
	require.Equal(t, "oose", xcaddy.Output)
}

// TestLockfileNamesNoRegistry: packages come from wherever npm is set up to
// get them.
func TestLockfileNamesNoRegistry(t *testing.T) {
	text, err := os.ReadFile("integration/sdk/package-lock.json")
	require.NoError(t, err)
	require.NotContains(t, string(text), `"resolved"`)
	var lock struct {
		Packages map[string]struct{ Version string }
	}
	require.NoError(t, json.Unmarshal(text, &lock))
	require.Equal(t, "3.1.2", lock.Packages["node_modules/oose-sdk"].Version)
}

// TestReadmeNamesWhatIsThere: every file that the README points at exists.
func TestReadmeNamesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, part := range strings.Split(string(text), "](")[1:] {
		target, _, _ := strings.Cut(part, ")")
		if !strings.Contains(target, "://") && !strings.HasPrefix(target, "#") {
			require.FileExists(t, strings.Split(target, "#")[0])
		}
	}
}

// TestConfigurationReferenceIsComplete looks for every setting in the reference.
func TestConfigurationReferenceIsComplete(t *testing.T) {
	text, err := os.ReadFile("docs/configuration.md")
	require.NoError(t, err)
	for _, root := range []any{caddymodule.App{}, caddymodule.Purchase{}, caddymodule.Prism{}, caddymodule.Store{}} {
		for _, name := range settings(reflect.TypeOf(root)) {
			// A setting stands alone, or in front of its arguments.
			if !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "`"+name+" ") {
				t.Errorf("docs/configuration.md does not mention %s of %T", name, root)
			}
		}
	}
}

// settings lists the names that a type has in JSON, and those of what it holds.
func settings(typ reflect.Type) (names []string) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return nil
	}
	for field := range typ.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.IsExported() && name != "-" && (name != "" || field.Anonymous) {
			if name != "" {
				names = append(names, name)
			}
			names = append(names, settings(field.Type)...)
		}
	}
	return names
}
