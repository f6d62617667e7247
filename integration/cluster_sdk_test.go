package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// The published SDK writes at one prism and reads at the other.
func TestClusterPublishedSDK(t *testing.T) {
	parallel(t)
	path, data := movie(t)
	engines(t, func(t *testing.T, config ClusterConfig) {
		c := StartCluster(t, config)
		protocols(t, c.Prism1) // waits for the certificates
		protocols(t, c.Prism2)
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", "across.js", "localhost", strconv.Itoa(c.Prism1.TLS), strconv.Itoa(c.Prism2.TLS), User, Password, path)
		cmd.Dir = "sdk"
		cmd.Env = append(cmd.Environ(), "NODE_NO_WARNINGS=1", "NODE_OPTIONS=--dns-result-order=ipv4first")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Run(), "node across.js (make sdk installs what it needs): %s", errs.String())
		var got struct {
			Hash   string
			Detail struct {
				Exists      bool
				Count, Size int
			}
			Delivered struct{ Status, Bytes int }
			Remove    struct{ Count int }
			Removed   int
		}
		require.NoError(t, json.Unmarshal(out.Bytes(), &got), "%s", out.String())
		require.Equal(t, sha1Of(data), got.Hash)
		require.True(t, got.Detail.Exists)
		require.Equal(t, 2, got.Detail.Count)
		require.Equal(t, len(data), got.Detail.Size)
		require.Equal(t, 200, got.Delivered.Status)
		require.Equal(t, len(data), got.Delivered.Bytes)
		require.Equal(t, 1, got.Remove.Count)
		require.Positive(t, got.Removed)
	})
}
