package inventory

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// What the test tells the process that is to die.
const (
	crashRoot = "OOSE_TEST_CRASH_ROOT"
	crashStep = "OOSE_TEST_CRASH_STEP" // the number of the step before which it dies
)

func crashData() []byte { return bytes.Repeat([]byte("crash"), 100_000) }

// crash stores one content in a root and ends the process, as SIGKILL does,
// before a step of that. It prints the step.
func crash(root string) {
	var last, n int
	if _, err := fmt.Sscan(os.Getenv(crashStep), &last); err != nil {
		panic(err)
	}
	armed := false
	hook := func(op, rel string) error {
		if !armed {
			return nil
		}
		if n++; n == last {
			fmt.Println(op)
			process, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = process.Kill()
			}
			if err != nil {
				panic(err)
			}
			select {}
		}
		return nil
	}
	clock := record.NewClock(nil)
	v, err := OpenVolume(VolumeConfig{Name: "om101", Root: root, hook: hook}, recordtest.NewMemory(clock), clock, zap.NewNop())
	if err != nil {
		panic(err)
	}
	armed = true
	d := NewHash(content.SHA1)
	d.Write(crashData())
	h, err := SumOf(content.SHA1, d)
	if err == nil {
		_, err = v.Put(context.Background(), h, "mp4", bytes.NewReader(crashData()), int64(len(crashData())))
	}
	if err != nil {
		panic(err)
	}
	fmt.Println("done")
	os.Exit(0)
}

// TestCrashAtEachStep kills a process before each step of the write path. What
// the next start and its scan find is the whole clone or nothing.
func TestCrashAtEachStep(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	h := hashOf(t, content.SHA1, crashData())
	var steps []string
	for n := 1; ; n++ {
		root := t.TempDir()
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), crashRoot+"="+root, fmt.Sprintf("%s=%d", crashStep, n))
		out, err := cmd.CombinedOutput()
		step := string(bytes.TrimSpace(out))
		if err == nil {
			require.Equal(t, "done", step)
			break
		}
		require.LessOrEqual(t, len(step), 20, step)
		steps = append(steps, step)

		b := openBench(t, func(c *VolumeConfig) { c.Root = root })
		require.Equal(t, Online, b.Status().State)
		require.Empty(t, b.files(disk.Temp), "step %d, %s", n, step)
		r := b.scanAll()
		require.Zero(t, r.Failed+r.Foreign+r.Errors, "step %d, %s: never half a clone", n, step)
		renamed := slices.Contains(steps[:n-1], "rename")
		c, ok := b.holds(h)
		require.Equal(t, renamed, ok, "step %d, %s", n, step)
		if ok {
			v, err := b.Verify(t.Context(), c.Hash, true)
			require.NoError(t, err)
			require.True(t, v.OK)
		}
		again := b.put(crashData(), "mp4")
		require.Equal(t, h, again.Hash)
		require.Len(t, b.files(disk.Content), 1)
	}
	require.Equal(t, "space create preallocate write sync mkdir syncdir mkdir syncdir rename syncdir record remove",
		fmt.Sprint(join(steps)))
}

func join(steps []string) string {
	var b bytes.Buffer
	for i, s := range steps {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	return b.String()
}
