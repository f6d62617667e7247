package recordtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

func testWatch(t *testing.T, e record.Engine) {
	var seen []record.Record
	stop := e.Watch(record.User, func(records []record.Record) { seen = append(seen, records...) })
	ack := put(t, e, record.User, "alice", "1")
	require.Len(t, seen, 1, "before the answer")
	require.Equal(t, get(t, e, record.User, "alice"), seen)
	require.Equal(t, ack.Time, seen[0].Time)
	put(t, e, record.Session, "alice", "1")
	require.Len(t, seen, 1, "another topic")
	_, err := e.Update(t.Context(), record.User, "alice", record.IfAbsent(), record.Change{})
	require.ErrorIs(t, err, record.ErrConflict)
	require.Len(t, seen, 1, "nothing was written")
	_, err = e.Update(t.Context(), record.User, "alice", record.Condition{}, record.Change{Delete: true})
	require.NoError(t, err)
	require.Len(t, seen, 2)
	require.True(t, seen[1].Deleted)
	stop()
	put(t, e, record.User, "alice", "2")
	require.Len(t, seen, 2)
}

func testWatchOrder(t *testing.T, e record.Engine) {
	var seen []uint64
	var known atomic.Uint64
	defer e.Watch(record.Switch, func(records []record.Record) {
		for _, r := range records {
			seen = append(seen, r.Revision)
			known.Store(r.Revision)
		}
	})()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 20 {
				ack, err := e.Update(t.Context(), record.Switch, fmt.Sprint("k", (i+k)%5), record.Condition{}, record.Change{Value: []byte("1")})
				if err != nil || known.Load() < ack.Revision {
					t.Error("not known before the answer", err)
				}
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 160)
	require.True(t, slices.IsSorted(seen))
}

func testWalk(t *testing.T, e record.Engine) {
	ctx := t.Context()
	require.Empty(t, collect(t, e.Walk(ctx, nil)))
	put(t, e, record.User, "a", "1")
	middle := put(t, e, record.Purchase, "b", "1")
	put(t, e, record.User, "c", "1")
	put(t, e, record.User, "a", "2")
	all := collect(t, e.Walk(ctx, nil))
	require.Equal(t, []string{"b", "c", "a"}, names(all), "only the latest of each, in the order of revisions")
	require.Equal(t, "2", string(all[2].Value))
	source := all[0].Source
	require.Equal(t, []string{"c", "a"}, names(collect(t, e.Walk(ctx, record.Position{source: middle.Revision}))))
	require.Empty(t, collect(t, e.Walk(ctx, record.Position{source: all[2].Revision})))
	require.Len(t, collect(t, e.Walk(ctx, record.Position{"unknown": 99})), 3)
	for range e.Walk(ctx, nil) {
		break
	}
}

// testRace lets many count one number up; none may be lost.
func testRace(t *testing.T, e record.Engine) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for done := 0; done < 10; {
				versions, err := e.Get(t.Context(), record.Switch, "n")
				if err != nil {
					t.Error(err)
					return
				}
				r, ok := record.Merge(record.Switch, versions)
				n, cond := 0, record.IfAbsent()
				if ok {
					fmt.Sscan(string(r.Value), &n)
					cond = record.IfUnchanged(r.Time)
				}
				_, err = e.Update(t.Context(), record.Switch, "n", cond, record.Change{Value: fmt.Append(nil, n+1)})
				if err == nil {
					done++
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, "80", string(get(t, e, record.Switch, "n")[0].Value))
}

// testOneWins lets many make one thing at once; one may.
func testOneWins(t *testing.T, e record.Engine) {
	for round := range 10 {
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				_, err := e.Update(t.Context(), record.User, fmt.Sprint("u", round), record.IfAbsent(), record.Change{Value: fmt.Append(nil, i)})
				if err == nil {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, won.Load())
	}
}

// testReadYourOwn reads what was just acknowledged while others read it too.
func testReadYourOwn(t *testing.T, e record.Engine) {
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, _ = e.Get(ctx, record.Use, fmt.Sprint("k", i%4))
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			key := fmt.Sprint("k", w)
			for i := range 50 {
				want := fmt.Sprint(i)
				_, err := e.Update(ctx, record.Use, key, record.Condition{}, record.Change{Value: []byte(want)})
				versions, err2 := e.Get(ctx, record.Use, key)
				if err != nil || err2 != nil || len(versions) != 1 || string(versions[0].Value) != want {
					t.Errorf("read %v after %s was acknowledged (%v, %v)", versions, want, err, err2)
					return
				}
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
}

func foreign(source string, revision uint64, topic record.Topic, key, member string, at record.Time) record.Record {
	return record.Record{Topic: topic, Key: key, Member: member, Source: source, Time: at, Revision: revision, Value: []byte(source)}
}

func testSources(t *testing.T, e record.Engine) {
	inject, ok := e.(Injector)
	if !ok {
		return
	}
	ack := put(t, e, record.Inventory, "h", "own", "s1")
	var seen []record.Record
	defer e.Watch(record.Inventory, func(records []record.Record) { seen = append(seen, records...) })()
	inject.Inject(
		foreign("zz", 3, record.Inventory, "h", "s1", ack.Time-1),
		foreign("!!", 1, record.Inventory, "h", "s1", ack.Time-2),
		foreign("zz", 4, record.Inventory, "h", "s0", 5),
		foreign("zz", 9, record.Inventory, "g", "s1", 6),
	)
	require.Len(t, seen, 4)
	versions := get(t, e, record.Inventory, "h")
	require.Equal(t, []string{"h/s0", "h/s1", "h/s1", "h/s1"}, names(versions))
	require.Equal(t, "!!", versions[1].Source)
	require.Equal(t, "zz", versions[3].Source)
	live := record.Members(record.Inventory, versions)
	require.Len(t, live, 2)
	require.Equal(t, "own", string(live[1].Value), "the latest wins")
	require.Equal(t, []string{"g/s1", "h/s1", "h/s1", "h/s1"}, names(collect(t, e.List(t.Context(), record.Inventory, record.ByMember, "s1", ""))))

	var walked []string
	for _, r := range collect(t, e.Walk(t.Context(), record.Position{"zz": 3})) {
		if r.Source == "zz" {
			walked = append(walked, fmt.Sprint(r.Key, r.Revision))
		}
	}
	require.Equal(t, []string{"h4", "g9"}, walked)

	inject.Inject(foreign("zz", 10, record.Inventory, "h", "s1", ack.Time+1))
	_, err := e.Update(t.Context(), record.Inventory, "h", record.IfUnchanged(ack.Time), record.Change{Member: "s1"})
	require.ErrorIs(t, err, record.ErrConflict, "conditions judge the merged versions")
	_, err = e.Update(t.Context(), record.Inventory, "h", record.IfUnchanged(ack.Time+1), record.Change{Member: "s1", Delete: true})
	require.NoError(t, err)
	require.Len(t, get(t, e, record.Inventory, "h"), 4, "each source keeps its own")
	require.Len(t, record.Members(record.Inventory, get(t, e, record.Inventory, "h")), 1, "the tombstone is the latest")
}

// testLaterTime: a new version is later than any its writer has seen, also
// than one from a clock that is far ahead, which moves no other time.
func testLaterTime(t *testing.T, e record.Engine) {
	inject, ok := e.(Injector)
	if !ok {
		return
	}
	now := put(t, e, record.User, "now", "1").Time
	future := now + record.Time(3600*1000<<16)
	inject.Inject(foreign("ahead", 1, record.User, "alice", "", future))
	ack := put(t, e, record.User, "alice", "mine")
	require.Greater(t, ack.Time, future)
	r, _ := record.Merge(record.User, get(t, e, record.User, "alice"))
	require.Equal(t, "mine", string(r.Value))
	require.Greater(t, put(t, e, record.User, "alice", "again").Time, ack.Time)
	require.Less(t, put(t, e, record.User, "bob", "1").Time, future)
}

func testOldVersion(t *testing.T, e record.Engine) {
	inject, ok := e.(Injector)
	if !ok {
		return
	}
	inject.Inject(foreign("other", 5, record.User, "alice", "", 50))
	inject.Inject(foreign("other", 4, record.User, "alice", "", 60), foreign("other", 5, record.User, "alice", "", 70))
	r := get(t, e, record.User, "alice")
	require.Len(t, r, 1)
	require.EqualValues(t, 50, r[0].Time, "an older revision changes nothing")
	inject.Inject(foreign("other", 6, record.User, "alice", "", 40))
	require.EqualValues(t, 40, get(t, e, record.User, "alice")[0].Time, "a newer one replaces it, whatever its time")
	require.Len(t, collect(t, e.Walk(t.Context(), nil)), 1)
}
