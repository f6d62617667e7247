package purchase_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

var (
	alice = netip.MustParseAddr("203.0.113.1")
	bob   = netip.MustParseAddr("203.0.113.2")
)

func counted(t testing.TB, book *purchase.Book, count int64) *purchase.Purchase {
	s := spec()
	s.Count = count
	made, _, err := book.Make(context.Background(), s)
	require.NoError(t, err)
	p, err := book.Find(context.Background(), made.Token)
	require.NoError(t, err)
	return p
}

func used(t testing.TB, book *purchase.Book, p *purchase.Purchase) int64 {
	n, err := book.Used(context.Background(), p)
	require.NoError(t, err)
	return n
}

// kept returns the uses that this engine's own source has written.
func kept(t testing.TB, e *recordtest.Memory, token purchase.Token) (count int64, revision uint64, expires int64) {
	versions, err := e.Get(context.Background(), record.Use, string(token))
	require.NoError(t, err)
	for _, v := range versions {
		if v.Source == e.Source() && !v.Deleted {
			var value struct{ Count int64 }
			require.NoError(t, json.Unmarshal(v.Value, &value))
			return value.Count, v.Revision, v.Expires
		}
	}
	return 0, 0, 0
}

// start runs the book until the test, or the function returned, ends it.
func start(t testing.TB, book *purchase.Book) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- book.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestUseCountsClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, _ := newBook(t, record.NewClock(nil))
		p := counted(t, book, 2)
		use := func(addr, agent string) (func(), error) {
			return book.Use(t.Context(), p, netip.MustParseAddr(addr), agent)
		}
		request := func(addr, agent string) error {
			done, err := use(addr, agent)
			if err == nil {
				done()
				done() // once is enough; twice does no harm
			}
			return err
		}
		require.NoError(t, request("2001:db8::1", "player"))
		require.NoError(t, request("2001:db8::1", "player"), "the same client: no further use")
		require.NoError(t, request("2001:db8::ffff", "player"), "its /64")
		require.NoError(t, request("2001:db8::1%eth0", "player"), "a zone is no other client")
		require.Equal(t, int64(1), used(t, book, p))

		require.NoError(t, request("203.0.113.1", "player"))
		require.NoError(t, request("::ffff:203.0.113.1", "player"), "IPv4 within IPv6")
		require.Equal(t, int64(2), used(t, book, p))

		for _, c := range [][2]string{{"2001:db8:0:1::1", "player"}, {"203.0.113.2", "player"}, {"203.0.113.1", "other player"}} {
			require.ErrorIs(t, request(c[0], c[1]), purchase.ErrSpent)
			require.ErrorIs(t, book.Spent(t.Context(), p, netip.MustParseAddr(c[0]), c[1]), purchase.ErrSpent)
		}
		require.NoError(t, request("203.0.113.1", "player"), "those known go on")
		require.NoError(t, book.Spent(t.Context(), p, alice, "player"))

		// The window is renewed by each request, and does not end while one runs.
		for range 5 {
			time.Sleep(purchase.Window - time.Second)
			require.NoError(t, request("203.0.113.1", "player"))
		}
		done, err := use("203.0.113.1", "player")
		require.NoError(t, err)
		time.Sleep(3 * purchase.Window)
		require.NoError(t, request("203.0.113.1", "player"))
		time.Sleep(3 * purchase.Window)
		done()
		time.Sleep(purchase.Window - time.Second)
		require.NoError(t, request("203.0.113.1", "player"), "a seek after a long stream")

		time.Sleep(purchase.Window)
		require.ErrorIs(t, request("203.0.113.1", "player"), purchase.ErrSpent)
		require.ErrorIs(t, book.Spent(t.Context(), p, alice, "player"), purchase.ErrSpent)
		require.Equal(t, int64(2), used(t, book, p))
	})
}

func TestSpentDoesNotRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, _ := newBook(t, record.NewClock(nil))
		p := counted(t, book, 1)
		require.NoError(t, book.Spent(t.Context(), p, alice, ""))
		require.Zero(t, used(t, book, p))
		done, err := book.Use(t.Context(), p, alice, "")
		require.NoError(t, err)
		done()
		time.Sleep(purchase.Window - time.Second)
		require.NoError(t, book.Spent(t.Context(), p, alice, ""))
		time.Sleep(time.Second)
		require.ErrorIs(t, book.Spent(t.Context(), p, alice, ""), purchase.ErrSpent)
	})
}

func TestUncountedCostsNothing(t *testing.T) {
	book, e := newBook(t, record.NewClock(nil))
	p := counted(t, book, 0)
	e.Fail(record.ErrUnavailable) // nothing is read
	require.Zero(t, testing.AllocsPerRun(100, func() {
		done, err := book.Use(context.Background(), p, alice, "player")
		if err != nil {
			t.Error(err)
			return
		}
		done()
	}))
	require.NoError(t, book.Spent(t.Context(), p, alice, ""))
	require.Zero(t, used(t, book, p))
}

func TestUseWithoutRecords(t *testing.T) {
	book, e := newBook(t, record.NewClock(nil))
	p := counted(t, book, 1)
	e.Fail(record.ErrUnavailable)
	_, err := book.Use(t.Context(), p, alice, "")
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.NotErrorIs(t, err, purchase.ErrSpent)
	e.Fail(nil)
	_, err = book.Use(t.Context(), p, alice, "")
	require.NoError(t, err)
	e.Fail(record.ErrUnavailable)
	_, err = book.Use(t.Context(), p, alice, "")
	require.NoError(t, err, "known in memory")
}

// What is counted is kept within a second, with at most one write in it, and a
// node that starts anew goes on from there.
func TestUsesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := record.NewClock(nil)
		book, e := newBook(t, clock)
		start(t, book)
		p := counted(t, book, 100)
		synctest.Wait()
		_, made, _ := kept(t, e, p.Token)
		require.Zero(t, made, "nothing is written of a purchase without uses")
		for i := range 50 {
			done, err := book.Use(t.Context(), p, alice, fmt.Sprint(i))
			require.NoError(t, err)
			done()
		}
		count, _, _ := kept(t, e, p.Token)
		require.Zero(t, count, "a request waits for no write")
		time.Sleep(time.Second)
		synctest.Wait()
		count, revision, expires := kept(t, e, p.Token)
		require.Equal(t, int64(50), count)
		require.Equal(t, p.Expires, expires)
		time.Sleep(purchase.Window)
		synctest.Wait()
		_, again, _ := kept(t, e, p.Token)
		require.Equal(t, revision, again, "nothing new, nothing written")

		restarted := purchase.NewBook(e, newMinter(t, clock), clock, purchase.Options{})
		defer restarted.Close()
		require.Equal(t, int64(50), used(t, restarted, p))
	})
}

func TestRunKeepsTheLastUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, e := newBook(t, record.NewClock(nil))
		stop := start(t, book)
		p := counted(t, book, 5)
		_, err := book.Use(t.Context(), p, alice, "")
		require.NoError(t, err)
		stop()
		count, _, _ := kept(t, e, p.Token)
		require.Equal(t, int64(1), count)
	})
}

func TestUsesAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, e := newBook(t, record.NewClock(nil))
		start(t, book)
		p := counted(t, book, 5)
		_, err := book.Use(t.Context(), p, alice, "")
		require.NoError(t, err)
		e.Fail(record.ErrUnavailable)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		e.Fail(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		count, _, _ := kept(t, e, p.Token)
		require.Equal(t, int64(1), count)
	})
}

func TestUsesOfOthersAreAdded(t *testing.T) {
	book, e := newBook(t, record.NewClock(nil))
	p := counted(t, book, 10)
	other := func(source string, revision uint64, count int) {
		e.Inject(record.Record{Topic: record.Use, Key: string(p.Token), Source: source, Time: record.Time(revision), Revision: revision,
			Expires: p.Expires, Value: fmt.Appendf(nil, `{"count":%d}`, count)})
	}
	other("b", 1, 3)
	_, err := book.Use(t.Context(), p, alice, "")
	require.NoError(t, err)
	require.Equal(t, int64(4), used(t, book, p))
	other("b", 2, 5)
	other("c", 1, 3)
	require.Equal(t, int64(9), used(t, book, p))
	_, err = book.Use(t.Context(), p, bob, "")
	require.NoError(t, err)
	_, err = book.Use(t.Context(), p, netip.MustParseAddr("203.0.113.3"), "")
	require.ErrorIs(t, err, purchase.ErrSpent)
	_, err = book.Use(t.Context(), p, alice, "")
	require.NoError(t, err)
}

// A count lives as long as its purchase, also where that is given a longer life.
func TestUsesOutliveARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := record.NewClock(nil)
		book, e := newBook(t, clock)
		stop := start(t, book)
		p := counted(t, book, 1)
		done, err := book.Use(t.Context(), p, alice, "")
		require.NoError(t, err)
		done()
		time.Sleep(30 * time.Minute) // the counter is out of memory
		stop()

		restarted := purchase.NewBook(e, newMinter(t, clock), clock, purchase.Options{})
		defer restarted.Close()
		start(t, restarted)
		life := 1000 * time.Hour
		p, err = restarted.Update(t.Context(), p.Token, purchase.Patch{Life: &life})
		require.NoError(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		count, _, expires := kept(t, e, p.Token)
		require.Equal(t, int64(1), count)
		require.Equal(t, p.Expires, expires)

		time.Sleep(500 * time.Hour)
		e.Expire(time.Now())
		_, err = restarted.Use(t.Context(), p, bob, "")
		require.ErrorIs(t, err, purchase.ErrSpent)
	})
}

// Uses do not go with a life that is made shorter, and longer again.
func TestShortenedLifeKeepsItsUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, e := newBook(t, record.NewClock(nil))
		start(t, book)
		s := spec()
		s.Count, s.Life = 1, 24*time.Hour
		p, _, err := book.Make(t.Context(), s)
		require.NoError(t, err)
		change := func(life time.Duration) {
			_, err := book.Update(t.Context(), p.Token, purchase.Patch{Life: &life})
			require.NoError(t, err)
			p, err = book.Find(t.Context(), p.Token)
			require.NoError(t, err)
		}
		change(time.Minute)
		done, err := book.Use(t.Context(), p, alice, "")
		require.NoError(t, err)
		done()
		time.Sleep(2 * time.Hour) // it expired, and the counter is out of memory
		synctest.Wait()
		e.Expire(time.Now())
		change(time.Hour)
		_, err = book.Use(t.Context(), p, bob, "")
		require.ErrorIs(t, err, purchase.ErrSpent)
	})
}

// The rule of counting against a model, with requests that begin, end and wait
// in any order, a restart included.
func TestUseModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			clock := record.NewClock(nil)
			e := recordtest.NewMemory(clock)
			book := purchase.NewBook(e, newMinter(t, clock), clock, purchase.Options{})
			defer book.Close()
			stop := start(t, book)
			defer stop()
			limit := rapid.Int64Range(1, 4).Draw(rt, "count")
			p := counted(t, book, limit)

			type state struct {
				running []func()
				last    time.Time
			}
			clients := make([]state, 4)
			count := int64(0)
			for range rapid.IntRange(1, 30).Draw(rt, "steps") {
				i := rapid.IntRange(0, len(clients)-1).Draw(rt, "client")
				c := &clients[i]
				addr, agent := []netip.Addr{alice, bob}[i/2], fmt.Sprint(i%2)
				switch rapid.IntRange(0, 2).Draw(rt, "what") {
				case 0:
					known := len(c.running) > 0 || !c.last.IsZero() && time.Since(c.last) < purchase.Window
					done, err := book.Use(t.Context(), p, addr, agent)
					if !known && count == limit {
						require.ErrorIs(t, err, purchase.ErrSpent)
						break
					}
					require.NoError(t, err)
					if !known {
						count++
					}
					c.running, c.last = append(c.running, done), time.Now()
				case 1:
					if n := len(c.running); n > 0 {
						c.running[n-1]()
						c.running, c.last = c.running[:n-1], time.Now()
					}
				case 2:
					time.Sleep(time.Duration(rapid.IntRange(0, 700).Draw(rt, "seconds")) * time.Second)
				}
				require.Equal(t, count, used(t, book, p))
			}
			stop()
			kept, _, _ := kept(t, e, p.Token)
			require.Equal(t, count, kept)
		})
	})
}

func BenchmarkUse(b *testing.B) {
	book, _ := newBook(b, record.NewClock(nil))
	p := counted(b, book, 10)
	b.ReportAllocs()
	for b.Loop() {
		done, err := book.Use(b.Context(), p, alice, "Mozilla/5.0 (X11; Linux x86_64)")
		if err != nil {
			b.Fatal(err)
		}
		done()
	}
}
