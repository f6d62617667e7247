//go:build soak

package integration

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Everything that can happen to a cluster happens at random, for SOAK (1h), by
// SEED, which is printed and can be given again; ENGINE is badger or redis. See
// docs/operations.md, or run `make soak`.
func TestSoak(t *testing.T) {
	lasts, err := time.ParseDuration(setting("SOAK", "1h"))
	require.NoError(t, err, "SOAK is how long it lasts, as 10m or 1h")
	seed, err := strconv.ParseUint(setting("SEED", strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64)
	require.NoError(t, err, "SEED is a number")
	engine := setting("ENGINE", "badger")
	require.Contains(t, []string{"badger", "redis"}, engine, "ENGINE")
	t.Logf("SEED=%d SOAK=%s ENGINE=%s", seed, lasts, engine)

	s := prepareStage(t, engine, "repair {\n after 3s\n }")
	s.views = watch(t, s.ledger, s.prisms(), 6, 25*time.Millisecond, seed)
	clients := s.clients(seed, 3)
	s.until("there is something to ask for", func() string {
		if len(s.ledger.contents(present)) < 20 {
			return "there is not"
		}
		return clients.failed()
	})
	end, happened := time.Now().Add(lasts), map[string]int{}
	for f := range faultPlan(seed) {
		if time.Now().After(end) {
			break
		}
		t.Logf("%s left: %s %s for %s", time.Until(end).Round(time.Second), f.Node, f.Kind, f.Hold)
		s.suffer(f, func() { hold(s, clients, f.Hold) })
		happened[f.Kind]++
		s.until("all nodes are well", s.problems)
		s.until("two clones of everything", func() string { return s.short(s.Prism1, "") + clients.failed() })
	}
	t.Logf("faults: %v", happened)
	t.Logf("deeds: %v", clients.end())
	require.Empty(t, clients.failed())
	s.finish()
}

// hold waits while a fault lasts, unless something has failed.
func hold(s *stage, c *clients, lasts time.Duration) {
	timer := time.NewTimer(lasts)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.broken:
	}
	require.Empty(s.t, c.failed())
}

// finish reads everything back, when nothing happens any more.
func (s *stage) finish() {
	s.t.Helper()
	failures, told := s.views.end()
	s.t.Log(told)
	require.Empty(s.t, failures)
	s.t.Logf("all nodes were well after %s", s.until("all nodes are well", s.problems).Round(time.Millisecond))
	s.sameRecords()
	s.until("what was removed is on no medium", s.leftovers)
	for _, prism := range s.prisms() {
		wrong, told := s.ledger.readBack(s.api[prism], prism)
		s.t.Logf("%s: %s", s.name(prism), told)
		require.Empty(s.t, strings.Join(wrong, "\n"), "what was acknowledged, at %s", s.name(prism))
	}
	for name, n := range s.Nodes {
		r := n.Run("status", "--json")
		require.Zero(s.t, r.Code, "%s: oose status: %s%s", name, r.Out, r.Err)
		require.Contains(s.t, r.Out, `"problems":[]`, name)
	}
	s.t.Log("oose status of every node: all is well")
}

// leftovers are clones of what was removed.
func (s *stage) leftovers() string {
	var left []string
	for _, e := range s.ledger.contents(removed) {
		for _, name := range []string{"store1", "store2", "store3", "store4"} {
			path := s.media.path(s.Nodes[name], "content", e.hash[:2], e.hash[2:4], e.hash+".bin")
			if _, err := os.Stat(path); err == nil {
				left = append(left, name+" has "+e.hash)
			}
		}
	}
	return strings.Join(left, "\n")
}

func setting(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// clients starts so many clients, which end with the test at the latest.
func (s *stage) clients(seed uint64, n int) *clients {
	c := &clients{
		views: s.views, api: s.api, prisms: s.prisms(), nodes: s.Nodes, ledger: s.ledger,
		broken: make(chan struct{}), done: make(chan struct{}), count: map[string]int{},
	}
	for i := range uint64(n) {
		c.all.Go(func() { c.run(seed, i) })
	}
	s.t.Cleanup(func() {
		c.fail(errors.New("the test has ended")) // nobody goes on trying
		c.end()
	})
	return c
}
