package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	downloads     = 120     // at a time
	downloadSize  = 1 << 20 // bytes of each content
	downloadFirst = 64 << 10
)

// download is one client that wants a part of a content, from wherever it comes.
type download struct {
	path     string
	from, to int // to excluded
	body     []byte

	got  int // bytes, checked as a whole by sum
	sum  hash.Hash
	etag string
	half func() // called when the first part has come
}

// errWait says that a prism has asked for patience (503 with Retry-After), as
// it does while Redis is too slow to tell it what it does not know.
var errWait = errors.New("asked to try again later")

// insist is fetch for as long as the prism asks for patience.
func (d *download) insist(client *http.Client, n *Node, query string) error {
	for end := time.Now().Add(patience); ; <-time.After(time.Second) {
		err := d.fetch(client, n, query)
		if !errors.Is(err, errWait) || time.Now().After(end) {
			return err
		}
	}
}

// fetch asks a prism for what is still missing, and reads as much as comes.
func (d *download) fetch(client *http.Client, n *Node, query string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL(d.path)+query, nil)
	if err != nil {
		return err
	}
	whole := d.got == 0 && d.from == 0 && d.to == len(d.body)
	if !whole {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", d.from+d.got, d.to-1))
	}
	if d.etag != "" {
		req.Header.Set("If-Range", d.etag)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	want := http.StatusPartialContent
	if whole {
		want = http.StatusOK
	}
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "" {
		return fmt.Errorf("%s: %w", d.path, errWait)
	}
	if res.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return fmt.Errorf("%s of bytes %d-%d: want %d, got %s: %s", d.path, d.from+d.got, d.to-1, want, res.Status, text)
	}
	if tag := res.Header.Get("ETag"); d.etag != "" && tag != d.etag {
		return fmt.Errorf("%s: the ETag was %s and is %s now", d.path, d.etag, tag)
	}
	d.etag = res.Header.Get("ETag")
	_, err = io.Copy(d, res.Body)
	return err
}

// Write takes over what has come.
func (d *download) Write(p []byte) (int, error) {
	before := d.got
	d.got += len(p)
	d.sum.Write(p)
	if before < downloadFirst && d.got >= downloadFirst {
		d.half()
	}
	return len(p), nil
}

// check tells what is wrong with what has come in all.
func (d *download) check() error {
	want := sha256.Sum256(d.body[d.from:d.to])
	if got := d.sum.Sum(nil); hex.EncodeToString(got) != hex.EncodeToString(want[:]) {
		return fmt.Errorf("%s, bytes %d-%d: %d bytes came, which are not those that were uploaded", d.path, d.from, d.to-1, d.got)
	}
	return nil
}

// A prism is killed while many clients download from it, wholes and ranges.
// Their connections die, and every one of them goes on at the other prism from
// the byte where it was.
func TestClusterPrismKilledUnderDownloads(t *testing.T) {
	parallel(t)
	engines(t, func(t *testing.T, config ClusterConfig) {
		c := StartCluster(t, config)
		all := c.downloads(t)
		var reading, ready sync.WaitGroup
		ready.Add(len(all))
		errs := make([]error, len(all))
		client := Client(t)
		client.Transport.(*http.Transport).MaxIdleConnsPerHost = len(all)
		killed := make(chan struct{})
		var slowest time.Duration
		var mu sync.Mutex
		for i, d := range all {
			d.half = sync.OnceFunc(ready.Done)
			reading.Go(func() {
				err := d.insist(client, c.Prism1, "?rate=64k") // it would take 16 s
				d.half()
				select {
				case <-killed:
				default:
					errs[i] = fmt.Errorf("%s ended before the prism was killed, after %d bytes: %v", d.path, d.got, err)
					return
				}
				if err == nil {
					errs[i] = errors.New(d.path + " did not notice that its prism was killed")
					return
				}
				began := time.Now()
				if errs[i] = d.insist(client, c.Prism2, ""); errs[i] == nil {
					errs[i] = d.check()
				}
				mu.Lock()
				slowest = max(slowest, time.Since(began))
				mu.Unlock()
			})
		}
		ready.Wait()
		close(killed)
		c.Prism1.Kill()
		reading.Wait()
		require.NoError(t, errors.Join(errs...))
		t.Logf("%d clients went on at the other prism; the slowest had the rest after %s", len(all), slowest.Round(time.Millisecond))
	})
}

// downloads are clients of a few contents, a third of which want a range.
func (c *Cluster) downloads(t *testing.T) (all []*download) {
	t.Helper()
	a := c.Prism1.Login()
	r := rand.New(rand.NewPCG(1, 1))
	for range downloads / 10 {
		body := pseudo(r, downloadSize)
		hash, err := upload(a, body)
		require.NoError(t, err)
		for i := range 10 {
			token, err := purchase(a, hash)
			require.NoError(t, err)
			d := &download{path: "/" + token + "/f.bin", to: len(body), body: body, sum: sha256.New()}
			if i%3 == 0 {
				d.from = r.IntN(len(body) / 4)
				d.to -= r.IntN(len(body) / 4)
			}
			all = append(all, d)
		}
	}
	return all
}
