package integration

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExitEndsStreams stops a node while players of each protocol do not read:
// they are given `exit_after`, and no more.
func TestExitEndsStreams(t *testing.T) {
	parallel(t)
	n := Start(t, Config{Sites: httpsSite, Oose: "exit_after 1s"})
	a := n.Login()
	// More than all buffers between the two ends together can hold.
	data := bytes.Repeat(noise(t, 1<<20), 48)
	p := a.Purchase(a.Upload("long.mp4", "sha256", bytes.NewReader(data)), "mp4", nil)
	all := protocols(t, n)
	var streams []*http.Response
	for _, proto := range all {
		// The second one is paced: it waits for its time, not for its reader.
		for _, query := range []string{"", "?rate=100k"} {
			res, err := proto.http.Get(proto.base + "/" + p.Token + "/long.mp4" + query)
			require.NoError(t, err, proto.name)
			defer res.Body.Close()
			_, err = io.CopyN(io.Discard, res.Body, 1000)
			require.NoError(t, err, proto.name)
			streams = append(streams, res)
		}
	}
	n.Stop()
	for i, res := range streams {
		_, err := io.Copy(io.Discard, res.Body)
		require.Error(t, err, "%s: a stream that was ended does not look complete", all[i/2].name)
	}
	require.Contains(t, n.Log(), "ending what still streams after the stop")
	n.Restart()
	require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/long.mp4"), data))
}
