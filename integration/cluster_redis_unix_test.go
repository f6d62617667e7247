//go:build unix

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/redisdb/redistest"
)

// twoAndTwo is two prisms with a store each.
var twoAndTwo = []string{"prism1", "prism2", "store1", "store3"}

// sale is a purchase that was acknowledged.
type sale struct {
	hash, token string
	data        []byte
}

// market is people who upload, purchase and download at both prisms without an
// end. Each of them may be told to come again (503), and nothing else.
type market struct {
	t    *testing.T
	c    *Cluster
	http *http.Client
	stop func()

	mu      sync.Mutex
	sold    []sale         // with two copies: no failover may lose them
	unsure  int            // with one: Redis may lose these with its master
	by      map[string]int // how many of them each prism sold
	refused map[string]int
	slowest time.Duration // of the downloads
}

func openMarket(t *testing.T, c *Cluster) *market {
	m := &market{t: t, c: c, http: c.Prism1.Client(), by: make(map[string]int), refused: make(map[string]int)}
	ctx, cancel := context.WithCancel(context.Background())
	var people sync.WaitGroup
	m.stop = sync.OnceFunc(func() {
		cancel()
		people.Wait()
	})
	t.Cleanup(m.stop)
	session := c.Prism1.Login()
	for i, at := range []*Node{c.Prism1, c.Prism2, c.Prism1, c.Prism2} {
		a := session.use(at)
		other := []*Node{c.Prism2, c.Prism1}[i%2]
		people.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				m.note(m.sell(a, other, noise(t, 2000+10*n+i)))
				breathe(ctx)
			}
		})
	}
	for range 2 {
		people.Go(func() {
			for ctx.Err() == nil {
				if s, ok := m.any(); ok {
					m.note(m.look([]*Node{c.Prism1, c.Prism2}[rand.N(2)], s))
				}
				breathe(ctx)
			}
		})
	}
	return m
}

// breathe leaves the two cores of a test machine something for Redis.
func breathe(ctx context.Context) {
	pause := time.NewTimer(20 * time.Millisecond)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
}

var errAgain = errors.New("503")

// note keeps what somebody was answered, which must be a yes or a not now.
func (m *market) note(what string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, errAgain):
		m.mu.Lock()
		defer m.mu.Unlock()
		m.refused[what]++
	default:
		m.t.Errorf("%s: %v", what, err)
	}
}

// sell uploads, purchases, and has the other prism serve it.
func (m *market) sell(a *API, other *Node, data []byte) (what string, err error) {
	hash, err := upload(a, data)
	if err != nil {
		if strings.Contains(err.Error(), ": 503 ") {
			err = errAgain
		}
		return "upload", err
	}
	token, copies, err := m.buy(a, hash)
	if err != nil {
		return "purchase", err
	}
	s := sale{hash, token, data}
	m.mu.Lock()
	if copies == "1" {
		m.unsure++
		m.mu.Unlock()
		return "purchase", nil
	}
	m.sold = append(m.sold, s)
	m.by[a.base]++
	m.mu.Unlock()
	return m.look(other, s)
}

func (m *market) buy(a *API, hash string) (token, copies string, err error) {
	req, err := http.NewRequest(http.MethodPost, a.base+"/content/purchase", strings.NewReader(`{"hash":"`+hash+`","ext":"bin"}`))
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-OOSE-Token", a.Token)
	res, body, err := m.send(a.HTTP, req)
	if err != nil {
		return "", "", err
	}
	var p Purchase
	if err := json.Unmarshal(body, &p); err != nil || p.Token == "" {
		return "", "", fmt.Errorf("%w: %s", err, body)
	}
	return p.Token, res.Header.Get("OOSE-Durability"), nil
}

// look downloads what was sold.
func (m *market) look(at *Node, s sale) (what string, err error) {
	what = "download"
	req, err := http.NewRequest(http.MethodGet, at.URL("/"+s.token+"/f.bin"), nil)
	if err != nil {
		return what, err
	}
	began := time.Now()
	_, body, err := m.send(m.http, req)
	m.mu.Lock()
	m.slowest = max(m.slowest, time.Since(began))
	m.mu.Unlock()
	if err == nil && !bytes.Equal(s.data, body) {
		err = errors.New("other bytes than were uploaded")
	}
	return what, err
}

func (m *market) send(client *http.Client, req *http.Request) (*http.Response, []byte, error) {
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, nil, err
	case res.StatusCode == http.StatusServiceUnavailable:
		return nil, nil, errAgain
	case res.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("%s: %s", res.Status, body)
	}
	return res, body, nil
}

func (m *market) any() (sale, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sold) == 0 {
		return sale{}, false
	}
	return m.sold[rand.N(len(m.sold))], true
}

// more waits until each prism has sold so many more.
func (m *market) more(n int, what string) {
	m.t.Helper()
	count := func() [2]int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return [2]int{m.by[m.c.Prism1.URL("")], m.by[m.c.Prism2.URL("")]}
	}
	before, began := count(), time.Now()
	eventually(m.t, func() bool {
		now := count()
		return now[0] >= before[0]+n && now[1] >= before[1]+n
	}, what)
	m.t.Logf("%s: after %s", what, time.Since(began).Round(10*time.Millisecond))
}

// check downloads all that was sold, at a prism.
func (m *market) check(at *Node) {
	m.t.Helper()
	for _, s := range m.sold {
		eventually(m.t, func() bool {
			what, err := m.look(at, s)
			m.note(what, err)
			return !errors.Is(err, errAgain)
		}, "what was acknowledged is readable")
	}
}

// failover has the market go on while a master dies, another takes its place,
// and the old one comes back: nobody is told that something is unknown which is
// not, writes come back by themselves, and all that was acknowledged is there.
func failover(t *testing.T, url string, kill, over, back func()) {
	t.Helper()
	c := StartCluster(t, ClusterConfig{Engine: "engine redis " + url, Only: twoAndTwo})
	m := openMarket(t, c)
	m.more(15, "both prisms sell")
	kill()
	began := time.Now()
	over()
	t.Logf("another is the master after %s", time.Since(began).Round(10*time.Millisecond))
	m.more(10, "both prisms sell again")
	back()
	m.more(10, "both prisms sell when the old master is back")
	m.stop()
	t.Logf("%d sold, %d more with one copy; told to come again: %v; the slowest download took %s",
		len(m.sold), m.unsure, m.refused, m.slowest)
	m.check(c.Prism1)
	c.Prism2.Kill() // and with it what it has in memory
	c.Prism2.Restart()
	m.check(c.Prism2)
}

func TestClusterSentinelFailover(t *testing.T) {
	parallel(t)
	s := redistest.StartSentinel(t)
	master := s.Servers[0]
	failover(t, s.URL(), master.Kill, func() { s.AwaitOther(master) }, master.Restart)
}

// A third of a Redis Cluster fails over, in which some of the purchases are.
func TestClusterRedisClusterFailover(t *testing.T) {
	parallel(t)
	s := redistest.StartClusterWithReplicas(t)
	master := s.Masters[0]
	failover(t, s.URL(), master.Kill, func() {
		redistest.Await(t, func() error {
			if role := s.Replicas[0].Info("replication", "role"); role != "master" {
				return errors.New(role)
			}
			return nil
		})
	}, master.Restart)
}

// A Redis that is full, slow, or was flushed, under two prisms and two stores.
func TestClusterRedisTrouble(t *testing.T) {
	parallel(t)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	c := StartCluster(t, ClusterConfig{Engine: "engine redis " + proxy.URL(), Only: twoAndTwo})
	a := c.Prism1.Login()
	b := a.use(c.Prism2)
	data := noise(t, 3000)
	eventually(t, func() bool { _, err := upload(a, data); return err == nil }, "the stores take content")
	hash := a.Upload("f.bin", "sha256", bytes.NewReader(data))
	known := a.Purchase(hash, "bin", nil).Token
	fresh := a.Purchase(hash, "bin", nil).Token // which only Redis has in memory by now
	unknown := plausibleToken(t, c, known)
	var slowest time.Duration
	defer func() { t.Logf("the slowest answer took %s", slowest) }()
	get := func(a *API, token string) int {
		t.Helper()
		began := time.Now()
		res, body := fetch(t, a.HTTP, http.MethodGet, a.base+"/"+token+"/f.bin")
		slowest = max(slowest, time.Since(began))
		if res.StatusCode == http.StatusOK {
			require.True(t, bytes.Equal(data, body))
		}
		return res.StatusCode
	}
	buy := func(a *API) int {
		res, _ := a.Post("/content/purchase", map[string]any{"hash": hash, "ext": "bin"})
		return res.StatusCode
	}
	send := func(a *API) int {
		res, _, err := a.SendUpload(Part{Field: "file", Name: "f.bin", HashType: "sha256", Body: bytes.NewReader(noise(t, 2000))})
		require.NoError(t, err)
		return res.StatusCode
	}
	both := func(f func(a *API)) {
		f(a)
		f(b)
	}
	works := func() {
		t.Helper()
		both(func(a *API) {
			eventually(t, func() bool { return buy(a) == http.StatusOK }, "purchases are made")
			eventually(t, func() bool { return send(a) == http.StatusOK }, "uploads are taken")
		})
	}
	both(func(a *API) { require.Equal(t, http.StatusOK, get(a, known)) })

	t.Run("full", func(t *testing.T) {
		server.Do("config", "set", "maxmemory", "1")
		eventually(t, func() bool { return get(b, fresh) == http.StatusOK }, "what is not in memory is read")
		both(func(a *API) {
			require.Equal(t, http.StatusOK, get(a, known))
			eventually(t, func() bool { return get(a, unknown) == http.StatusNotFound }, "what is there can be told, and so what is not")
			require.Equal(t, http.StatusServiceUnavailable, buy(a))
			require.Equal(t, http.StatusServiceUnavailable, send(a))
			res, _ := a.Post("/content/purchase/remove", map[string]string{"token": fresh})
			require.Equal(t, http.StatusServiceUnavailable, res.StatusCode, "a revocation that is not kept is not promised")
		})
		server.Do("config", "set", "maxmemory", "0")
		works()
	})
	t.Run("slow", func(t *testing.T) {
		proxy.Delay(60 * time.Millisecond)
		both(func(a *API) {
			require.Equal(t, http.StatusOK, get(a, known))
			eventually(t, func() bool { return get(a, unknown) == http.StatusNotFound }, "it is still asked")
		})
		works()
		proxy.Delay(time.Second) // longer than anybody waits
		both(func(a *API) {
			require.Equal(t, http.StatusOK, get(a, known))
			require.Equal(t, http.StatusServiceUnavailable, get(a, unknown))
			require.Equal(t, http.StatusServiceUnavailable, buy(a))
		})
		proxy.Delay(0)
		works()
		both(func(a *API) {
			eventually(t, func() bool { return get(a, unknown) == http.StatusNotFound }, "Redis is asked again")
		})
	})
	t.Run("flushed", func(t *testing.T) {
		server.Do("flushall")
		both(func(a *API) {
			eventually(t, func() bool { return get(a, known) == http.StatusNotFound }, "what is lost is not served from memory")
			eventually(t, func() bool {
				res, _ := a.Post("/user/session/validate", map[string]string{})
				return res.StatusCode == http.StatusUnauthorized
			}, "nor are sessions")
		})
		c.WaitKnown() // each node says again who it is
		a = c.Prism1.Login()
		b = a.use(c.Prism2)
		works()
		both(func(a *API) {
			token := a.Purchase(hash, "bin", nil).Token
			eventually(t, func() bool { return get(a, token) == http.StatusOK }, "what the disks hold is recorded anew")
		})
	})
}
