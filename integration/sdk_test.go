package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type delivered struct {
	Status int
	Bytes  int
	Type   string
}

// TestPublishedSDK drives the npm package oose-sdk against a node over HTTPS.
func TestPublishedSDK(t *testing.T) {
	parallel(t)
	path, data := movie(t)
	const text = "fetched from elsewhere\n"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(elsewhere.Close)
	n := Start(t, Config{Sites: httpsSite, Oose: "content {\n retrieve_private\n }"})

	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "drive.js", "localhost", strconv.Itoa(n.TLS), User, Password, path, elsewhere.URL+"/note.txt")
	cmd.Dir = "sdk"
	cmd.Env = append(cmd.Environ(), "NODE_NO_WARNINGS=1", "NODE_OPTIONS=--dns-result-order=ipv4first")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "node drive.js (make sdk installs what it needs): %s", errs.String())

	var got struct {
		Refused []string
		Login   struct {
			Token, IP string
			Data      map[string]any
		}
		Upload struct {
			Success string
			Files   map[string]map[string]any
		}
		Retrieve map[string]any
		Detail   struct {
			Hash, MimeType, RelativePath string
			Size, Count                  int
			Exists                       bool
			Map                          []string
		}
		Details  map[string]struct{ Exists bool }
		Purchase struct{ Token, Hash, Ext, Referrer, ExpirationDate string }
		Remove   struct {
			Token, Success string
			Count          int
		}
		Logout                              struct{ Success string }
		Delivered, DeliveredStatic, Removed delivered
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &got), "%s", out.String())
	hash, textHash := sha1Of(data), sha1Of([]byte(text))
	require.NotEmpty(t, got.Login.Token)
	require.Equal(t, "127.0.0.1", got.Login.IP)
	require.Equal(t, "File(s) uploaded", got.Upload.Success)
	file := got.Upload.Files["file"]
	require.Equal(t, hash, file["hash"])
	require.Equal(t, hash, file["sha1"])
	require.Equal(t, "sha1", file["hashType"])
	require.Equal(t, "mp4", file["ext"])
	require.Equal(t, "movie.mp4", file["name"])
	require.Equal(t, textHash, got.Retrieve["hash"])
	require.Equal(t, "txt", got.Retrieve["extension"])
	require.True(t, got.Detail.Exists)
	require.Equal(t, hash, got.Detail.Hash)
	require.Equal(t, "video/mp4", got.Detail.MimeType)
	require.Equal(t, len(data), got.Detail.Size)
	require.Equal(t, 2, got.Detail.Count)
	require.ElementsMatch(t, []string{"edge1:disk1", "edge1:disk2"}, got.Detail.Map)
	require.True(t, strings.HasPrefix(got.Detail.RelativePath, hash[:2]+"/"+hash[2:4]+"/"), got.Detail.RelativePath)
	require.True(t, strings.HasSuffix(got.Detail.RelativePath, hash[38:]+".mp4"), got.Detail.RelativePath)
	require.True(t, got.Details[hash].Exists)
	require.True(t, got.Details[textHash].Exists)
	require.Len(t, got.Purchase.Token, 20)
	require.Equal(t, hash, got.Purchase.Hash)
	require.Empty(t, got.Purchase.Referrer)
	expires, err := strconv.ParseInt(got.Purchase.ExpirationDate, 10, 64)
	require.NoError(t, err)
	require.Positive(t, expires)
	require.Equal(t, delivered{200, len(data), "video/mp4"}, got.Delivered)
	require.Equal(t, delivered{200, len(text), "text/plain; charset=utf-8"}, got.DeliveredStatic)
	require.Equal(t, 1, got.Remove.Count)
	require.Equal(t, got.Purchase.Token, got.Remove.Token)
	require.Equal(t, "Purchase removed", got.Remove.Success)
	require.Equal(t, http.StatusNotFound, got.Removed.Status)
	require.Equal(t, "User logged out", got.Logout.Success)
	require.Len(t, got.Refused, 3, "a wrong password, an invalid hash, a session that ended: %v", got.Refused)
}
