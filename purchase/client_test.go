package purchase_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// A node that starts anew knows the clients of the one before, be it that it
// was stopped or that it died within a long stream.
func TestClientsOutliveARestart(t *testing.T) {
	for _, stopped := range []bool{true, false} {
		t.Run(fmt.Sprintf("stopped %v", stopped), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := record.NewClock(nil)
				book, e := newBook(t, clock)
				stop := start(t, book)
				p := counted(t, book, 2)
				ended, err := book.Use(t.Context(), p, alice, "player")
				require.NoError(t, err)
				_, err = book.Use(t.Context(), p, bob, "player")
				require.NoError(t, err)
				ended()
				time.Sleep(30 * time.Minute) // bob's stream goes on
				synctest.Wait()
				if stopped {
					stop()
				}
				restarted := purchase.NewBook(e, newMinter(t, clock), clock, purchase.Options{})
				defer restarted.Close()
				_, err = restarted.Use(t.Context(), p, alice, "player")
				require.ErrorIs(t, err, purchase.ErrSpent)
				_, err = restarted.Use(t.Context(), p, bob, "player")
				require.NoError(t, err)
				require.Equal(t, int64(2), used(t, restarted, p))

				for r, err := range e.List(t.Context(), record.Use, record.ByKey, "", "") {
					require.NoError(t, err)
					require.NotContains(t, string(r.Value), "203.0.113")
				}
			})
		})
	}
}

// One who goes to another node is not counted there again.
func TestClientsOfOthersAreKnown(t *testing.T) {
	book, e := newBook(t, record.NewClock(nil))
	p := counted(t, book, 1)
	_, err := book.Use(t.Context(), p, alice, "player")
	require.NoError(t, err)
	stop := start(t, book)
	stop()

	elsewhere, e2 := newBook(t, record.NewClock(nil))
	for r, err := range e.Walk(t.Context(), nil) {
		require.NoError(t, err)
		r.Source = "b"
		e2.Inject(r)
	}
	p, err = elsewhere.Find(t.Context(), p.Token)
	require.NoError(t, err)
	_, err = elsewhere.Use(t.Context(), p, bob, "player")
	require.ErrorIs(t, err, purchase.ErrSpent)
	_, err = elsewhere.Use(t.Context(), p, alice, "player")
	require.NoError(t, err)
	require.Equal(t, int64(1), used(t, elsewhere, p))
}

// However many clients there are, a record holds the latest.
func TestRecordsOfClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, e := newBook(t, record.NewClock(nil))
		stop := start(t, book)
		p := counted(t, book, 5000)
		for i := range 5000 {
			done, err := book.Use(t.Context(), p, alice, fmt.Sprint(i))
			require.NoError(t, err)
			done()
			if i == 2500 {
				time.Sleep(time.Minute)
			}
		}
		stop()
		versions, err := e.Get(t.Context(), record.Use, string(p.Token))
		require.NoError(t, err)
		var value struct{ Clients map[string]int64 }
		require.NoError(t, json.Unmarshal(versions[0].Value, &value))
		require.Len(t, value.Clients, 128)
		for _, last := range value.Clients {
			require.Equal(t, time.Now().UnixMilli(), last)
		}
	})
}

// Clients beyond the bound push out the silent ones, never those that run.
func TestClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := record.NewClock(nil)
		e := recordtest.NewMemory(clock)
		book := purchase.NewBook(e, newMinter(t, clock), clock, purchase.Options{Clients: 1})
		defer book.Close()
		p := counted(t, book, 1_000)
		done, err := book.Use(t.Context(), p, alice, "")
		require.NoError(t, err)
		for i := range 100 {
			done, err := book.Use(t.Context(), p, bob, fmt.Sprint(i))
			require.NoError(t, err)
			done()
		}
		require.Equal(t, int64(101), used(t, book, p))
		_, err = book.Use(t.Context(), p, alice, "")
		require.NoError(t, err)
		require.Equal(t, int64(101), used(t, book, p), "who is running is known")
		done()
		_, err = book.Use(t.Context(), p, bob, "0")
		require.NoError(t, err)
		require.Equal(t, int64(102), used(t, book, p), "who was forgotten is counted again")
	})
}

// However many ask at once, no more clients than the count get in.
func TestUseAtOnce(t *testing.T) {
	book, e := newBook(t, record.NewClock(nil))
	stop := start(t, book)
	p := counted(t, book, 10)
	var wait sync.WaitGroup
	var mu sync.Mutex
	let := map[string]bool{}
	for i := range 64 {
		agent := fmt.Sprint(i % 32)
		wait.Go(func() {
			for range 20 {
				done, err := book.Use(context.Background(), p, alice, agent)
				if err != nil {
					continue
				}
				mu.Lock()
				let[agent] = true
				mu.Unlock()
				done()
			}
		})
	}
	wait.Wait()
	require.Len(t, let, 10)
	stop()
	count, _, _ := kept(t, e, p.Token)
	require.Equal(t, int64(10), count)
}
