package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stall is how long a paused player is paused: longer than the minute after
// which Caddy, left alone, cuts a response that nobody reads.
const stall = 75 * time.Second

// TestPausedPlayers has a player on each protocol that stops reading in the
// middle of a response, and an uploader that stops sending. All go on later.
func TestPausedPlayers(t *testing.T) {
	t.Parallel()
	// More than all buffers between the two ends together can hold.
	data := bytes.Repeat(noise(t, 1<<20), 48)
	sum := sha256.Sum256(data)
	n := Start(t, Config{Sites: httpsSite})
	a := n.Login()
	hash := a.Upload("long.mp4", "sha256", bytes.NewReader(data))
	require.Equal(t, hex.EncodeToString(sum[:]), hash)
	p := a.Purchase(hash, "mp4", nil)
	t.Run("all at once", func(t *testing.T) {
		for _, proto := range protocols(t, n) {
			t.Run(proto.name, func(t *testing.T) {
				t.Parallel()
				res, err := proto.http.Get(proto.base + "/" + p.Token + "/long.mp4")
				require.NoError(t, err)
				defer res.Body.Close()
				require.Equal(t, http.StatusOK, res.StatusCode)
				require.Equal(t, proto.proto, res.Proto)
				digest := sha256.New()
				_, err = io.CopyN(digest, res.Body, 1<<20)
				require.NoError(t, err)
				pause(t, n)
				_, err = io.Copy(digest, res.Body)
				require.NoError(t, err, "the rest after the pause")
				require.Equal(t, hash, hex.EncodeToString(digest.Sum(nil)))
			})
		}
		t.Run("upload", func(t *testing.T) {
			t.Parallel()
			a := n.Login()
			data := noise(t, 4<<20)
			hash := a.Upload("slow.bin", "sha256", &pausing{t: t, n: n, data: data, at: len(data) / 2})
			require.Equal(t, sha256Of(data), hash)
		})
	})
}

// pause waits for the length of a stall: what is tested is that nothing
// happens in that time, so there is no condition to await.
func pause(t *testing.T, n *Node) {
	t.Helper()
	select {
	case <-time.After(stall):
	case <-n.Exited():
		t.Error("the node ended during the pause")
	}
}

// pausing is a body that stops for the length of a stall before byte at.
type pausing struct {
	t    *testing.T
	n    *Node
	data []byte
	at   int
	sent int
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.sent == len(p.data) {
		return 0, io.EOF
	}
	end := len(p.data)
	if p.sent < p.at {
		end = p.at
	} else if p.sent == p.at {
		pause(p.t, p.n)
	}
	m := copy(b, p.data[p.sent:end])
	p.sent += m
	return m, nil
}
