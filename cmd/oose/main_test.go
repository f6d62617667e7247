package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary be the program itself: Caddy's main function
// ends the process, so it can't be called in a test.
const asProgram = "OOSE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func oose(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), asProgram+"=1", "HOME="+cmd.Dir, "XDG_DATA_HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestHelp(t *testing.T) {
	out, _, status := oose(t, "--help")
	require.Zero(t, status)
	require.Contains(t, out, "oose put movie.mp4")
	require.Contains(t, out, "oose [command]")
	for _, command := range []string{
		"put", "get", "purchase", "revoke", "status", "inventory", "scan", "verify", "adopt", "user", "peers", "export", "import", "block", "unblock", "audit", "clones", "drain", "undrain", "forget", "switch", // ours
		"run", "start", "stop", "reload", "validate", "fmt", "adapt", "version", // Caddy's
	} {
		require.Regexp(t, `(?m)^  `+command+` +\S`, out)
	}
	require.NotRegexp(t, `(?m)^  oose {2}`, out,
		"the group of other builds is not there")

	out, _, status = oose(t, "put", "--help")
	require.Zero(t, status)
	require.Contains(t, out, "oose put [--name <name>]")
	require.Contains(t, out, "--address")

	out, _, status = oose(t, "oose", "put", "--help")
	require.Zero(t, status, "scripts for a Caddy with the module work here too")
	require.Contains(t, out, "oose oose put")
}

func TestVersion(t *testing.T) {
	out, _, status := oose(t, "version")
	require.Zero(t, status)
	require.Regexp(t, `^OOSE \S+, Caddy v2\.\d+`, out)
}

func TestModules(t *testing.T) {
	out, _, status := oose(t, "list-modules")
	require.Zero(t, status)
	for _, id := range []string{
		"oose", "http.handlers.oose_prism", "http.handlers.oose_store", "http.handlers.oose_purchase",
		"admin.api.oose", "tls.permission.oose", "caddy.storage.oose", "caddy.logging.encoders.filter.oose_token",
		"http.handlers.file_server",
	} {
		require.Contains(t, strings.Split(out, "\n"), id)
	}
}

func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"no server", []string{"status", "--address", "unix//nonexistent/oose.sock"}, 3, "Error: no server answers at unix//nonexistent/oose.sock"},
		{"bad argument", []string{"get"}, 1, "Error: accepts between 1 and 2 arg(s)"},
		{"bad file", []string{"put", "--address", "unix//nonexistent/oose.sock", "no-such-file"}, 1, "Error: putting no-such-file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, errs, status := oose(t, tt.args...)
			require.Equal(t, tt.status, status, errs)
			require.Contains(t, errs, tt.says)
			require.NotContains(t, errs, "exiting with status")
		})
	}
}
