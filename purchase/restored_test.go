package purchase_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

// TestUsesOfARestoredCopy: 5 uses are counted; the database is set back to a copy that knows
// them all, and goes on as a branch. One more use makes 6.
func TestUsesOfARestoredCopy(t *testing.T) {
	for _, early := range []int{0, 1} { // uses between the restart and the split
		t.Run(fmt.Sprint(early), func(t *testing.T) {
			clock := record.NewClock(nil)
			dir := t.TempDir()
			run := func() (*journal.Journal, *purchase.Book, func()) {
				j, err := journal.Open(journal.Options{Dir: dir, Clock: clock, Cluster: true})
				require.NoError(t, err)
				done := make(chan error)
				go func() { done <- j.Run(context.Background()) }()
				b := purchase.NewBook(j, newMinter(t, clock), clock, purchase.Options{})
				return j, b, func() {
					b.Close()
					require.NoError(t, j.Close())
					<-done
				}
			}
			write := func(b *purchase.Book) {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				require.NoError(t, b.Run(ctx))
			}
			_, b, stop := run()
			p := counted(t, b, 100)
			for i := range 5 {
				done, err := b.Use(t.Context(), p, alice, fmt.Sprint(i))
				require.NoError(t, err)
				done()
			}
			write(b)
			stop()
			// It is the copy from here on: what was written behind it is known to others alone.
			var j *journal.Journal
			j, b, stop = run()
			defer stop()
			for i := range early {
				done, err := b.Use(t.Context(), p, alice, fmt.Sprint("early", i))
				require.NoError(t, err)
				done()
				write(b)
			}
			require.EqualValues(t, 5+early, used(t, b, p))
			old := j.Source()
			require.NoError(t, j.Part(t.Context(), []journal.SourceState{{Source: old, Claim: 100}}))
			require.NotEqual(t, old, j.Source())
			b.Renewed()
			require.EqualValues(t, 5+early, used(t, b, p), "after the split")
			done, err := b.Use(t.Context(), p, bob, "late")
			require.NoError(t, err)
			done()
			require.EqualValues(t, 6+early, used(t, b, p), "before it is kept")
			write(b)
			require.EqualValues(t, 6+early, used(t, b, p), "after it was kept")
		})
	}
}
