package journal

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// TestKill kills a process that writes, again and again, at any moment. What
// it said to have been acknowledged is there, whole, and nothing half.
func TestKill(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	acknowledged := make(map[string]uint64) // key and the last round in which it was
	for round := 1; round <= 6; round++ {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), roleVariable+"=write", "DIR="+dir, fmt.Sprint("ROUND=", round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		left := 1 + rand.IntN(1500)
		for lines.Scan() {
			key, ok := strings.CutPrefix(lines.Text(), "ack ")
			require.True(t, ok, lines.Text())
			acknowledged[key] = uint64(round)
			if left--; left == 0 {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.Error(t, cmd.Wait(), "it was killed")
		require.Zero(t, max(left, 0), "it wrote until then")
		checkKilled(t, dir, acknowledged)
	}
}

func checkKilled(t *testing.T, dir string, acknowledged map[string]uint64) {
	j := start(t, Options{Dir: dir})
	defer j.stop()
	for key, round := range acknowledged {
		versions := j.get(record.Inventory, key)
		require.Len(t, versions, 2, key)
		require.Equal(t, versions[0].Value, versions[1].Value, "an update is whole")
		var got uint64
		_, err := fmt.Sscan(string(versions[0].Value), &got)
		require.NoError(t, err)
		require.GreaterOrEqual(t, got, round, key)
	}
	all := j.walk()
	require.Len(t, j.keys("r"), len(all))
	require.Len(t, j.keys("m"), len(all))
	require.Equal(t, all[len(all)-1].Revision, j.Head())
	require.EqualValues(t, len(all), j.Stats().Records[record.Inventory])
}

func init() {
	roles["write"] = func() error {
		j, err := Open(Options{Dir: os.Getenv("DIR")})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { _ = j.Run(ctx) })
		var out sync.Mutex
		value := []byte(os.Getenv("ROUND"))
		for range 16 {
			wg.Go(func() {
				for ctx.Err() == nil {
					key := fmt.Sprint("k", rand.IntN(2000))
					_, err := j.Update(ctx, record.Inventory, key, record.Condition{},
						record.Change{Member: "a", Value: value}, record.Change{Member: "b", Value: value})
					if err != nil {
						continue
					}
					out.Lock()
					_, _ = os.Stdout.WriteString("ack " + key + "\n")
					out.Unlock()
				}
			})
		}
		wg.Wait()
		return j.Close()
	}
}
