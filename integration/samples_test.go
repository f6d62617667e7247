package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// samples are the configurations that people start from.
func samples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "docs", "*.Caddyfile"))
	require.NoError(t, err)
	require.Len(t, files, 3)
	return append(files, filepath.Join("..", "Caddyfile.example"))
}

func TestSampleConfigurations(t *testing.T) {
	parallel(t)
	for _, file := range samples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NotContains(t, string(text), "grace_period", "it would cut HTTP/3 streams on a reload")
			n := Prepare(t, Config{Text: string(text)}, WithEnv("OOSE_SECRET=0123456789abcdef0123456789abcdef", "REDIS_PASSWORD=secret"))
			require.NoError(t, os.WriteFile(n.Path("Caddyfile"), text, 0o600)) // just as it stands
			adapted := n.MustRun("adapt", "--config", n.Path("Caddyfile"), "--adapter", "caddyfile")
			requireFiltered(t, []byte(adapted))
			// Provisioning opens log files: here those below a folder of the test's own.
			require.NoError(t, os.WriteFile(n.Path("Caddyfile.here"), []byte(strings.ReplaceAll(string(text), "/var/log/oose", n.Path("log"))), 0o600))
			r := n.Run("validate", "--config", n.Path("Caddyfile.here"), "--adapter", "caddyfile")
			require.Zero(t, r.Code, r.Out+r.Err)
			r = n.Run("fmt", "--diff", n.Path("Caddyfile"))
			require.Zero(t, r.Code, "formatted as oose fmt does:\n%s%s", r.Out, r.Err)
		})
	}
}

// requireFiltered looks at every log of a configuration in JSON: each shortens
// the tokens.
func requireFiltered(t *testing.T, adapted []byte) {
	t.Helper()
	var config struct {
		Logging struct {
			Logs map[string]struct {
				Encoder struct {
					Format string
					Fields map[string]struct{ Filter string }
				}
			}
		}
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Logs struct {
						DefaultLoggerName string         `json:"default_logger_name"`
						LoggerNames       map[string]any `json:"logger_names"`
					}
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(adapted, &config))
	require.Contains(t, config.Logging.Logs, "default", "the global log, which has the errors of the sites")
	for name, log := range config.Logging.Logs {
		require.Equal(t, "filter", log.Encoder.Format, name)
		for field, filter := range map[string]string{"request>uri": "oose_token", "resp_headers>Location": "oose_token",
			"request>headers>X-Oose-Token": "delete", "request>headers>Referer": "delete"} {
			require.Equal(t, filter, log.Encoder.Fields[field].Filter, "%s of the log %s", field, name)
		}
	}
	for name, server := range config.Apps.HTTP.Servers {
		if server.Logs.DefaultLoggerName == "" && len(server.Logs.LoggerNames) == 0 && len(config.Apps.HTTP.Servers) > 1 {
			continue // the server for redirects to HTTPS
		}
		require.NotEmpty(t, config.Logging.Logs, name)
	}
}

// TestExampleServes starts the example as it stands, but for its ports.
func TestExampleServes(t *testing.T) {
	parallel(t)
	text, err := os.ReadFile(filepath.Join("..", "Caddyfile.example"))
	require.NoError(t, err)
	n := Start(t, Config{Text: strings.ReplaceAll(string(text), "5971", "$PORT")})
	require.DirExists(t, n.Path("data", "disk2", "content"))
	require.DirExists(t, n.Path("data", "meta"))
	ss := n.Run("status").Out // a machine that is short of room makes it tell of problems
	require.Contains(t, ss, "disk1")
}
