package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
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
	early(t)
	// More than all buffers between the two ends together can hold.
	data := bytes.Repeat(noise(t, 1<<20), 48)
	sum := sha256.Sum256(data)
	n := Start(t, Config{Sites: httpsSite})
	a := n.Login()
	hash := a.Upload("long.mp4", "sha256", bytes.NewReader(data))
	require.Equal(t, hex.EncodeToString(sum[:]), hash)
	p := a.Purchase(hash, "mp4", nil)
	// All at the same time, however many tests may run in parallel.
	var wg sync.WaitGroup
	all := protocols(t, n)
	errs := make([]error, len(all)+1)
	for i, proto := range all {
		wg.Go(func() { errs[i] = playWithPause(n, proto, "/"+p.Token+"/long.mp4", hash) })
	}
	wg.Go(func() {
		data := noise(t, 4<<20)
		res, text, err := a.SendUpload(Part{Field: "file", Name: "slow.bin", HashType: "sha256", Body: &pausing{n: n, data: data, at: len(data) / 2}})
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("answered %s", res.Status)
		}
		if err == nil {
			var hash string
			if hash, err = uploaded(text); err == nil && hash != sha256Of(data) {
				err = fmt.Errorf("answered %s", hash)
			}
		}
		errs[len(all)] = err
	})
	wg.Wait()
	for i, proto := range all {
		require.NoError(t, errs[i], proto.name)
	}
	require.NoError(t, errs[len(all)], "upload")
}

// playWithPause reads a content of which it compares the hash, with a pause
// after the first MiB.
func playWithPause(n *Node, proto protocol, path, hash string) error {
	res, err := proto.http.Get(proto.base + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Proto != proto.proto {
		return fmt.Errorf("answered %s %s", res.Proto, res.Status)
	}
	digest := sha256.New()
	if _, err := io.CopyN(digest, res.Body, 1<<20); err != nil {
		return err
	}
	if err := pause(n); err != nil {
		return err
	}
	if _, err := io.Copy(digest, res.Body); err != nil {
		return fmt.Errorf("after the pause: %w", err)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != hash {
		return fmt.Errorf("the bytes are those of %s", got)
	}
	return nil
}

// pause waits for the length of a stall: what is tested is that nothing
// happens in that time, so there is no condition to await.
func pause(n *Node) error {
	select {
	case <-time.After(stall):
		return nil
	case <-n.Exited():
		return errors.New("the node ended during the pause")
	}
}

// pausing is a body that stops for the length of a stall before byte at.
type pausing struct {
	n        *Node
	data     []byte
	at, sent int
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.sent == len(p.data) {
		return 0, io.EOF
	}
	end := len(p.data)
	if p.sent < p.at {
		end = p.at
	} else if p.sent == p.at {
		if err := pause(p.n); err != nil {
			return 0, err
		}
	}
	m := copy(b, p.data[p.sent:end])
	p.sent += m
	return m, nil
}
