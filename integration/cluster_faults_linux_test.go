package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whatever happens to one store, no viewer of either prism notices: every byte
// is compared. What had a clone there has two elsewhere soon, and nothing that
// was acknowledged before or meanwhile is lost.
func TestClusterFaults(t *testing.T) {
	for _, engine := range []string{"badger", "redis"} {
		t.Run(engine, func(t *testing.T) {
			parallel(t)
			s := prepareStage(t, engine, "repair {\n after 2s\n }")
			for range 16 {
				require.NoError(t, store(s.api[s.Prism1], s.ledger, noise(t, 60_000)))
			}
			s.views = watch(t, s.ledger, s.prisms(), 4, 20*time.Millisecond, 1)
			stop := s.views.busy(s.api, 1, 20_000, 500*time.Millisecond)
			for i, f := range []fault{
				{Kind: "flipped", Node: "store2"}, {Kind: "rotten", Node: "store3"}, {Kind: "deleted", Node: "store4"},
				{Kind: "read-only", Node: "store2"}, {Kind: "full", Node: "store3"},
				{Kind: "unmounted", Node: "store1"}, {Kind: "killed", Node: "store2"}, {Kind: "frozen", Node: "store3"}, {Kind: "cut off", Node: "store4"},
			} {
				f.Pick = uint64(i)
				began := time.Now()
				s.suffer(f, func() {
					if blows[f.Kind].effect == away {
						s.until("two clones of everything beside "+f.Node, func() string { return s.short(s.Prism2, f.Node) })
						t.Logf("%s %s: two clones of everything beside it %s after it was struck", f.Node, f.Kind, time.Since(began).Round(time.Millisecond))
					}
				})
			}
			t.Log(stop())
			failures, told := s.views.end()
			t.Log(told)
			require.Empty(t, failures)
			t.Logf("all nodes were well after %s", s.until("all nodes are well", s.problems).Round(time.Millisecond))
			s.sameRecords()
			for _, prism := range s.prisms() {
				wrong, told := s.ledger.readBack(s.api[prism], prism)
				t.Log(told)
				require.Empty(t, strings.Join(wrong, "\n"), "what was acknowledged, at %s", s.name(prism))
			}
		})
	}
}
