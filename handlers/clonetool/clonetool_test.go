package clonetool

import (
	"cmp"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/inventory"
	plan "github.com/ooseio/oose/inventory/repair"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// yard is a cluster that is only names: an index and an agent over a map, with
// the real plan.
type yard struct {
	mu       sync.Mutex
	stores   []plan.Store
	held     map[content.Hash][]string
	want     map[content.Hash]int
	blocked  map[content.Hash]bool
	damaged  map[content.Hash]string // the store whose clone is
	failing  map[string]error        // by store: copies to it fail
	verified int
	rival    func(to string) // is told of a copy that was made, y.mu held
}

func newYard(stores int) *yard {
	y := &yard{
		held: map[content.Hash][]string{}, want: map[content.Hash]int{}, blocked: map[content.Hash]bool{},
		damaged: map[content.Hash]string{}, failing: map[string]error{},
	}
	for i := range stores {
		id := fmt.Sprint("s", i+1)
		y.stores = append(y.stores, plan.Store{Target: inventory.Target{ID: id, Node: "n" + id, Free: 1 << 30}, Room: true})
	}
	return y
}

func (y *yard) tool() *Tool { return &Tool{Index: y, Agent: y, Copies: 2, Parallel: 3} }

func hashOf(n int) content.Hash {
	sum := sha1.Sum(fmt.Append(nil, n))
	h, err := content.HashOf(content.SHA1, sum[:])
	if err != nil {
		panic(err)
	}
	return h
}

// put places content n in these stores.
func (y *yard) put(n int, stores ...string) content.Hash {
	y.held[hashOf(n)] = stores
	return hashOf(n)
}

func (y *yard) All(_ context.Context, prefix string, after content.Hash) iter.Seq2[content.Hash, error] {
	return y.list(after, func(h content.Hash) bool { return strings.HasPrefix(h.String(), prefix) })
}

func (y *yard) list(after content.Hash, fits func(content.Hash) bool) iter.Seq2[content.Hash, error] {
	y.mu.Lock()
	defer y.mu.Unlock()
	var all []content.Hash
	for h := range y.held {
		if (after.IsZero() || h.String() > after.String()) && fits(h) {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b content.Hash) int { return cmp.Compare(a.String(), b.String()) })
	return func(yield func(content.Hash, error) bool) {
		for _, h := range all {
			if !yield(h, nil) {
				return
			}
		}
	}
}

func (y *yard) List(_ context.Context, store string, after content.Hash) iter.Seq2[inventory.Clone, error] {
	hashes := y.list(after, func(h content.Hash) bool { return slices.Contains(y.held[h], store) })
	return func(yield func(inventory.Clone, error) bool) {
		for h := range hashes {
			if !yield(inventory.Clone{Hash: h, Store: store}, nil) {
				return
			}
		}
	}
}

func (y *yard) Want(_ context.Context, h content.Hash, copies int) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.want[h] = copies
	if copies == 0 {
		delete(y.want, h)
	}
	return nil
}

func (y *yard) Content(_ context.Context, h content.Hash) (repair.Content, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.content(h), nil
}

func (y *yard) content(h content.Hash) repair.Content {
	c := repair.Content{Wanted: cmp.Or(y.want[h], 2), Blocked: y.blocked[h]}
	for _, store := range y.held[h] {
		c.Clones = append(c.Clones, inventory.Clone{Hash: h, Store: store, Size: 1000})
	}
	c.Plan = plan.Of(plan.NewCluster(y.stores), plan.Content{Hash: h, Size: 1000, Wanted: c.Wanted, Holders: y.held[h]})
	return c
}

func (y *yard) Standing(store string) (plan.Store, bool) {
	return plan.NewCluster(y.stores).Store(store)
}

func (y *yard) Copy(_ context.Context, h content.Hash, to string, progress func(int64)) (inventory.Clone, error) {
	y.mu.Lock()
	err := y.failing[to]
	y.mu.Unlock()
	if err == nil && y.blocked[h] {
		err = inventory.ErrBlocked
	}
	if err != nil {
		return inventory.Clone{}, err
	}
	progress(500)
	y.mu.Lock()
	defer y.mu.Unlock()
	y.held[h] = append(slices.Clone(y.held[h]), to)
	if y.rival != nil {
		y.rival(to)
	}
	return inventory.Clone{Hash: h, Store: to}, nil
}

func (y *yard) Drop(_ context.Context, h content.Hash, store string, _ int) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	others := 0
	for _, id := range y.held[h] {
		if s, ok := y.Standing(id); ok && s.Standing == plan.Good && id != store {
			others++
		}
	}
	if others < cmp.Or(y.want[h], 2) {
		return repair.ErrNeeded
	}
	y.held[h] = slices.DeleteFunc(slices.Clone(y.held[h]), func(id string) bool { return id == store })
	return nil
}

func (y *yard) Verify(_ context.Context, h content.Hash, store string, force bool) (inventory.Verification, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.verified++
	return inventory.Verification{OK: y.damaged[h] != store, Skipped: !force && y.damaged[h] == ""}, nil
}

// run runs the tool and returns the steps by content, as text.
func (y *yard) run(t *testing.T, s Selection, a Action) (map[content.Hash][]string, Summary) {
	t.Helper()
	steps := map[content.Hash][]string{}
	sum, err := y.tool().Run(t.Context(), &s, &a, Report{
		Progress: func(p Progress) { require.LessOrEqual(t, p.Done, max(p.Total, p.Done)) },
		Outcome: func(o Outcome) {
			steps[o.Hash] = []string{}
			for _, step := range o.Steps {
				steps[o.Hash] = append(steps[o.Hash], strings.TrimSpace(string(step.Did)+" "+step.Store))
			}
		},
	})
	require.NoError(t, err)
	return steps, sum
}

func of(n int) *int { return &n }

func TestSelections(t *testing.T) {
	y := newYard(4)
	one, two, three := y.put(1, "s1"), y.put(2, "s1", "s2"), y.put(3, "s1", "s2", "s3")
	away := y.put(4, "s4")
	y.stores[3].Standing = plan.Lost
	nobody := hashOf(5)
	for name, tt := range map[string]struct {
		s    Selection
		want []content.Hash
	}{
		"all":                 {Selection{All: true}, []content.Hash{one, two, three, away}},
		"above":               {Selection{Above: of(1)}, []content.Hash{two, three}},
		"at":                  {Selection{At: of(2)}, []content.Hash{two}},
		"below":               {Selection{Below: of(2)}, []content.Hash{one, away}},
		"at none":             {Selection{At: of(0)}, []content.Hash{away}},
		"between":             {Selection{Above: of(1), Below: of(3)}, []content.Hash{two}},
		"store":               {Selection{Stores: []string{"s2"}}, []content.Hash{two, three}},
		"stores, each once":   {Selection{Stores: []string{"s3", "s2", "s1"}}, []content.Hash{one, two, three}},
		"store and count":     {Selection{Stores: []string{"s2"}, Above: of(2)}, []content.Hash{three}},
		"hashes":              {Selection{Hashes: []content.Hash{three, one}}, []content.Hash{one, three}},
		"hash nobody holds":   {Selection{Hashes: []content.Hash{nobody}}, []content.Hash{nobody}},
		"hashes and store":    {Selection{Hashes: []content.Hash{three, one}, Stores: []string{"s2"}}, []content.Hash{three}},
		"folder":              {Selection{Folder: two.String()[:6]}, []content.Hash{two}},
		"folder, not a match": {Selection{Folder: two.String()[:6], Above: of(5)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			steps, sum := y.run(t, tt.s, Action{})
			var got []content.Hash
			for h := range steps {
				got = append(got, h)
			}
			require.ElementsMatch(t, tt.want, got)
			require.EqualValues(t, len(tt.want), sum.Contents)
		})
	}
	_, sum := y.run(t, Selection{All: true}, Action{})
	require.Equal(t, map[int]int64{0: 1, 1: 1, 2: 1, 3: 1}, sum.ByCount)
	require.True(t, (&Selection{}).Empty())
	require.False(t, (&Selection{Below: of(1)}).Empty())
}

func TestManyPages(t *testing.T) {
	y := newYard(3)
	for i := range 3 * pageLen {
		y.put(i, "s1")
	}
	_, sum := y.run(t, Selection{Below: of(2)}, Action{Desired: 2})
	require.EqualValues(t, 3*pageLen, sum.Copied)
	require.EqualValues(t, 3*pageLen*1000, sum.Moved)
	_, sum = y.run(t, Selection{Below: of(2)}, Action{Desired: 2})
	require.Zero(t, sum.Contents)
}

func TestDesired(t *testing.T) {
	y := newYard(4)
	short, right, many := y.put(1, "s1"), y.put(2, "s1", "s2"), y.put(3, "s1", "s2", "s3")
	steps, sum := y.run(t, Selection{All: true}, Action{Desired: 2, Pretend: true})
	require.Len(t, steps[short], 1)
	require.Regexp(t, `^copied s[234]$`, steps[short][0])
	require.Empty(t, steps[right])
	require.Equal(t, []string{"dropped"}, steps[many])
	require.True(t, sum.Pretend)
	require.Len(t, y.held[short], 1, "nothing was done")

	y.run(t, Selection{All: true}, Action{Desired: 2})
	for _, h := range []content.Hash{short, right, many} {
		require.Len(t, y.held[h], 2)
	}
	require.Empty(t, y.want, "what the settings say is not written down")

	steps, _ = y.run(t, Selection{Hashes: []content.Hash{right}}, Action{Desired: 3, Pretend: true})
	require.Equal(t, []string{"wanted", "copied"}, steps[right])
	steps, _ = y.run(t, Selection{Hashes: []content.Hash{right}}, Action{Desired: 3})
	require.Len(t, y.held[right], 3)
	require.Equal(t, map[content.Hash]int{right: 3}, y.want, "or repair would drop the third")
	require.Equal(t, "wanted", steps[right][0])

	steps, sum = y.run(t, Selection{Hashes: []content.Hash{right}}, Action{Desired: 5})
	require.Len(t, y.held[right], 4)
	require.Contains(t, steps[right], "failed", "there are but four stores")
	require.EqualValues(t, 1, sum.Failed)

	steps, _ = y.run(t, Selection{Hashes: []content.Hash{right}}, Action{Desired: 1, Keep: map[content.Hash]bool{right: true}})
	require.Equal(t, []string{"kept"}, steps[right])
	y.run(t, Selection{Hashes: []content.Hash{right}}, Action{Desired: 1})
	require.Len(t, y.held[right], 1)
	require.Equal(t, 1, y.want[right])
	y.run(t, Selection{Hashes: []content.Hash{right}}, Action{Desired: 2})
	require.Len(t, y.held[right], 2)
	require.Empty(t, y.want, "back to what the settings say")
}

func TestProtectedStores(t *testing.T) {
	y := newYard(3)
	h := y.put(1, "s1", "s2", "s3")
	all := map[string]bool{"s1": true, "s2": true, "s3": true}
	steps, sum := y.run(t, Selection{All: true}, Action{Desired: 2, KeepStores: all})
	require.Len(t, y.held[h], 3)
	require.Regexp(t, `^kept s[123]$`, steps[h][0])
	require.EqualValues(t, 1, sum.Kept)
	_, err := y.tool().Run(t.Context(), &Selection{All: true}, &Action{DropFrom: "s1", KeepStores: all}, Report{})
	require.ErrorIs(t, err, ErrRequest)
}

func TestCloneToAndDropFrom(t *testing.T) {
	y := newYard(4)
	h := y.put(1, "s1", "s2")
	y.run(t, Selection{All: true}, Action{CloneTo: "s3"})
	require.Equal(t, []string{"s1", "s2", "s3"}, y.held[h])
	require.Equal(t, 3, y.want[h], "it is to stay")
	steps, _ := y.run(t, Selection{All: true}, Action{CloneTo: "s3"})
	require.Empty(t, steps[h], "it is there already")

	steps, sum := y.run(t, Selection{All: true}, Action{DropFrom: "s1"})
	require.Equal(t, []string{"kept s1"}, steps[h], "three are wanted")
	require.EqualValues(t, 1, sum.Kept)
	y.run(t, Selection{All: true}, Action{DropFrom: "s1", Force: true})
	require.Equal(t, []string{"s2", "s3"}, y.held[h])
	require.Empty(t, y.want, "two are what the settings say")

	y.run(t, Selection{All: true}, Action{CloneTo: "s4", DropFrom: "s2"})
	require.Equal(t, []string{"s3", "s4"}, y.held[h], "it has moved")
	require.Empty(t, y.want)

	y.run(t, Selection{All: true}, Action{DropFrom: "s3", Force: true})
	require.Equal(t, []string{"s4"}, y.held[h])
	require.Equal(t, 1, y.want[h])
	steps, _ = y.run(t, Selection{All: true}, Action{DropFrom: "s4", Force: true})
	require.Equal(t, []string{"kept s4"}, steps[h], "never the last one")
	steps, _ = y.run(t, Selection{All: true}, Action{DropFrom: "s1", Force: true})
	require.Empty(t, steps[h], "there is none")
}

// TestOneFailureStopsNothing also of contents that are blocked, or nobody holds.
func TestOneFailureStopsNothing(t *testing.T) {
	y := newYard(3)
	good, blocked, nobody := y.put(1, "s1"), y.put(2, "s1"), hashOf(9)
	y.blocked[blocked] = true
	y.failing["s2"] = errors.New("no room")
	steps, sum := y.run(t, Selection{Hashes: []content.Hash{nobody, blocked, good}}, Action{Desired: 2})
	require.Len(t, y.held[good], 2, "another store took it")
	require.NotContains(t, steps[good], "copied s2")
	require.Len(t, y.held[blocked], 1)
	require.Contains(t, steps[blocked], "failed")
	require.Equal(t, []string{"failed"}, steps[nobody])
	require.EqualValues(t, 1, sum.Blocked)
	require.GreaterOrEqual(t, sum.Failed, int64(2))
}

func TestVerify(t *testing.T) {
	y := newYard(2)
	sound, damaged := y.put(1, "s1", "s2"), y.put(2, "s1", "s2")
	y.damaged[damaged] = "s2"
	steps, sum := y.run(t, Selection{All: true}, Action{Verify: true})
	require.Equal(t, []string{"skipped s1", "skipped s2"}, steps[sound])
	require.Equal(t, []string{"verified s1", "damaged s2"}, steps[damaged])
	require.EqualValues(t, 1, sum.Damaged)
	_, sum = y.run(t, Selection{All: true}, Action{Verify: true, Force: true})
	require.EqualValues(t, 3, sum.Verified)
	y.verified = 0
	y.run(t, Selection{All: true}, Action{Verify: true, Pretend: true})
	require.Zero(t, y.verified)
}

func TestBrokenOff(t *testing.T) {
	y := newYard(2)
	for i := range 100 {
		y.put(i, "s1")
	}
	ctx, cancel := context.WithCancel(t.Context())
	sum, err := y.tool().Run(ctx, &Selection{All: true}, &Action{Desired: 2}, Report{Outcome: func(Outcome) { cancel() }})
	require.ErrorIs(t, err, context.Canceled)
	require.Positive(t, sum.Copied, "what was done is told")
	require.Less(t, sum.Contents, int64(100))
}

func TestParseFolder(t *testing.T) {
	for text, want := range map[string]string{"ab": "ab", "AB/cd/": "abcd", "content/ab/cd": "abcd", "a": "a"} {
		got, err := ParseFolder(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "/", "xy", "../ab", strings.Repeat("a", 129)} {
		_, err := ParseFolder(text)
		require.ErrorIs(t, err, ErrRequest)
	}
}

// Where repair takes the clone that was just made for the one too many, it is made
// again; not for ever.
func TestMoveAmongRepair(t *testing.T) {
	y := newYard(4)
	h := y.put(1, "s1", "s2")
	times := 1
	y.rival = func(to string) {
		if times--; times >= 0 {
			y.held[h] = []string{"s1", "s2"}
		}
	}
	act := Action{CloneTo: "s3", DropFrom: "s1"}
	steps, sum := y.run(t, Selection{All: true}, act)
	require.ElementsMatch(t, []string{"s2", "s3"}, y.held[h])
	require.Equal(t, []string{"copied s3", "copied s3", "dropped s1"}, steps[h])
	require.Zero(t, sum.Kept)
	times = 100
	act.CloneTo, act.DropFrom = "s4", "s2"
	y.held[h] = []string{"s1", "s2"}
	steps, sum = y.run(t, Selection{All: true}, act)
	require.ElementsMatch(t, []string{"s1", "s2"}, y.held[h])
	require.Positive(t, sum.Kept+sum.Failed, "it is told: %v", steps[h])
}
