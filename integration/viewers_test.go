package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// question is what one viewer asks of one prism.
type question struct {
	node     *Node
	path     string
	from, to int // of a range, to excluded; to 0: the whole
}

func (q *question) String() string {
	s := "GET " + q.node.URL(q.path)
	if q.to > 0 {
		s += fmt.Sprintf(" bytes %d-%d", q.from, q.to-1)
	}
	return s
}

// ask sends it and reads the answer to its end.
func (q *question) ask(client *http.Client) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, q.node.URL(q.path), nil)
	if err != nil {
		return 0, nil, err
	}
	if q.to > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", q.from, q.to-1))
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// want asks, and tells what came where it is not what should have.
func (q *question) want(client *http.Client, status int, whole []byte) error {
	began := time.Now()
	got, body, err := q.ask(client)
	return q.judge(got, body, err, status, whole, began)
}

// judge compares what came with what should have.
func (q *question) judge(got int, body []byte, failed error, status int, whole []byte, began time.Time) error {
	expected := whole
	if status == http.StatusOK && q.to > 0 {
		status, expected = http.StatusPartialContent, whole[q.from:q.to]
	}
	came := ""
	switch {
	case failed == nil && status == http.StatusNotFound && got == http.StatusTooManyRequests:
		return nil // unknown as well, once too often: what is there is given all the same
	case failed != nil && got == 0:
		came = failed.Error()
	case failed != nil:
		came = fmt.Sprintf("%d and %d bytes, then %v", got, len(body), failed)
	case got != status:
		came = fmt.Sprintf("%d: %.200s", got, body)
		if got == http.StatusOK || got == http.StatusPartialContent {
			came = fmt.Sprintf("%d with %d bytes", got, len(body))
		}
	case status == http.StatusNotFound:
		return nil
	case sha256Of(body) != sha256Of(expected):
		came = fmt.Sprintf("%d with %d bytes, from byte %d on others than those that were uploaded", got, len(body), differ(body, expected))
	default:
		return nil
	}
	return fmt.Errorf("%s, at %s, took %s: want %d with %d bytes, got %s", q, began.Format("15:04:05.000"),
		time.Since(began).Round(time.Millisecond), status, len(expected), came)
}

// lie tells whether what came, be it cut short, is not of the content at all.
func (q *question) lie(status int, body, whole []byte) bool {
	if q.to > 0 {
		whole = whole[q.from:q.to]
	}
	return status < 300 && !bytes.HasPrefix(whole, body)
}

// differ is the first place where two texts are not the same.
func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// struck tells whether a prism itself is struck: its viewers may be refused
// then, but never given anything wrong.
type struck struct{ edge atomic.Int64 } // odd: now

// viewers ask prisms for what a ledger has until they are stopped.
type viewers struct {
	ledger *ledger
	prisms []*Node
	struck map[*Node]*struck

	stopped  chan struct{}
	stopOnce sync.Once
	all      sync.WaitGroup

	redis                 bool // the engine: it may be too slow to tell, on a busy machine
	asked, excused, again atomic.Int64
	mu                    sync.Mutex
	failures              []string
}

// watch starts n viewers, which end with the test at the latest, each as fast as
// leaves the machine room for the nodes.
func watch(t testing.TB, l *ledger, prisms []*Node, n int, pace time.Duration, seed uint64) *viewers {
	v := &viewers{
		ledger: l, prisms: prisms, struck: map[*Node]*struck{}, stopped: make(chan struct{}),
		redis: strings.Contains(prisms[0].config.Text, "engine redis"),
	}
	for _, p := range prisms {
		v.struck[p] = &struck{}
	}
	for i := range n {
		r := rand.New(rand.NewPCG(seed, uint64(100+i)))
		prism := prisms[i%len(prisms)]
		client := prism.Client()
		v.all.Go(func() { v.view(prism, client, r, pace) })
	}
	t.Cleanup(v.stop)
	return v
}

// strike says that from now on a node is struck itself, and heal that it is no
// more. Only prisms have viewers.
func (v *viewers) strike(n *Node) {
	if s := v.struck[n]; s != nil {
		s.edge.Add(1)
	}
}

func (v *viewers) heal(n *Node) { v.strike(n) }

// well is a prism that is not struck, n if it is not.
func (v *viewers) well(n *Node) *Node {
	if v.struck[n].edge.Load()%2 == 0 {
		return n
	}
	return v.prisms[(slices.Index(v.prisms, n)+1)%len(v.prisms)]
}

func (v *viewers) stop() {
	v.stopOnce.Do(func() { close(v.stopped) })
	v.all.Wait()
}

// end stops and tells what went wrong.
func (v *viewers) end() (failures []string, told string) {
	v.stop()
	return v.failed(), fmt.Sprintf("viewers asked %d times, %d failed, %d not counted because their prism was struck itself or the content was changing, %d asked again because Redis was slow",
		v.asked.Load(), len(v.failures), v.excused.Load(), v.again.Load())
}

func (v *viewers) failed() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.failures)
}

func (v *viewers) view(n *Node, client *http.Client, r *rand.Rand, pace time.Duration) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-v.stopped:
			return
		case <-ticker.C:
		}
		s, ok := v.ledger.pick(r.Uint64())
		if r.IntN(20) == 0 {
			if old, any := v.ledger.pickEnded(r.Uint64()); any && time.Since(old.ended) > revocationReaches {
				s, ok = old, true
			}
		}
		if !ok {
			continue
		}
		q := &question{node: n, path: "/" + s.token + "/f.bin"}
		if s.ended.IsZero() && r.IntN(2) == 0 {
			_, q.from, q.to = randomRange(r, len(s.body))
			q.to = min(q.to, len(s.body))
		}
		if err := v.one(q, client, s); err != nil {
			v.mu.Lock()
			v.failures = append(v.failures, err.Error())
			v.mu.Unlock()
		}
	}
}

// revocationReaches is how long after its acknowledgement a revocation must hold
// everywhere; the design says a second, the machine may be busy.
const revocationReaches = 10 * time.Second

// recordsAway is in the answer of a prism that can't read its records now.
const recordsAway = "What is known of this content can't be read now"

// one asks one question. What a struck prism, or one that does not know of a
// change yet, answers is excused unless it is a wrong body.
func (v *viewers) one(q *question, client *http.Client, s sight) error {
	before, began := v.struck[q.node].edge.Load(), time.Now()
	status, body, err := q.ask(client)
	v.asked.Add(1)
	for v.redis && status == http.StatusServiceUnavailable && strings.Contains(string(body), recordsAway) && time.Since(began) < patience {
		v.again.Add(1)
		<-time.After(time.Second) // as Retry-After says
		status, body, err = q.ask(client)
	}
	want := http.StatusOK
	if !s.ended.IsZero() {
		want = http.StatusNotFound
	}
	wrong := q.judge(status, body, err, want, s.body, began)
	if wrong == nil {
		return nil
	}
	steady := before%2 == 0 && v.struck[q.node].edge.Load() == before && (!s.ended.IsZero() || v.ledger.holds(s))
	if steady || s.ended.IsZero() && q.lie(status, body, s.body) {
		return wrong
	}
	v.excused.Add(1)
	return nil
}
