package caddymodule

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/inventory"
)

func TestStoreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			e    storeEvents
			mu   sync.Mutex
			seen []string
		)
		e.seed(inventory.Status{Name: "early", State: inventory.Offline})
		gate := make(chan struct{})
		e.begin(func(name string, data map[string]any) {
			<-gate
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, data["store"].(string)+" "+name)
		})
		told := func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return append([]string(nil), seen...)
		}
		e.notify(inventory.Status{Name: "a", State: inventory.Online, Writable: true})
		synctest.Wait() // the first handler hangs
		e.notify(inventory.Status{Name: "b", State: inventory.Offline})
		e.notify(inventory.Status{Name: "a", State: inventory.Suspect})
		e.notify(inventory.Status{Name: "a", State: inventory.Online}) // full
		require.Empty(t, told(), "and yet nobody waits for it")
		close(gate)
		require.Equal(t, []string{"early store_offline", "a store_unwritable", "b store_offline"}, told(),
			"what came before is not lost, and of each store the latest counts")

		e.notify(inventory.Status{Name: "a", State: inventory.Online, Reason: "disk full"})
		require.Len(t, told(), 3, "the same again is no news")
		e.notify(inventory.Status{Name: "a", State: inventory.Suspect})
		require.Equal(t, "a store_suspect", told()[3])
		e.seed(inventory.Status{Name: "c", State: inventory.Online, Writable: true})
		e.seed(inventory.Status{Name: "d", State: inventory.Offline})
		require.Equal(t, []string{"d store_offline"}, told()[4:])
		e.notify(inventory.Status{Name: "d", State: inventory.Online, Writable: true})
		require.Equal(t, []string{"d store_online"}, told()[5:])
		e.end()
		e.end()
		e.notify(inventory.Status{Name: "a", State: inventory.Offline})
		require.Len(t, told(), 6)
	})
}
