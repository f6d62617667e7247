package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What an idle node may take of the machine's memory: of its own, and together
// with the pages of the program's file that are mapped, which the kernel shares
// and drops when it needs the room.
const (
	idleOwn      = 30e6
	idleResident = 60e6
)

// TestIdleMemory starts the program as it is released, without the race
// detector, which takes several times the memory.
func TestIdleMemory(t *testing.T) {
	parallel(t)
	binary := filepath.Join(t.TempDir(), "oose")
	// The flags are xcaddy's, so that a build of either serves the other from Go's cache.
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-w -s", "-tags", "nobadger,nomysql,nopgx", "-o", binary, "../cmd/oose")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	n := Start(t, Config{}, WithBinary(binary))
	n.Eventually(func() bool {
		stores, _ := statusOf(t, n)["stores"].([]any)
		for _, s := range stores {
			if m, ok := s.(map[string]any); !ok || m["scanned"] != true {
				return false
			}
		}
		return len(stores) == 2
	}, "the first scans have finished")
	// What the start took is given back a moment after it.
	var own, resident int64
	n.Eventually(func() bool {
		own, resident = memoryOf(t, n.PID(), "RssAnon"), memoryOf(t, n.PID(), "VmRSS")
		return own < idleOwn && resident < idleResident
	}, "the node is small again after its start")
	t.Logf("an idle node takes %.1f MB of its own; with the pages of the program's file that it looked at, %.1f MB", float64(own)/1e6, float64(resident)/1e6)
	a := n.Login()
	require.NotEmpty(t, a.Upload("f.txt", "", strings.NewReader("it is the real program")))
}

// memoryOf reads a figure of a process's memory, in bytes.
func memoryOf(t *testing.T, pid int, figure string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^` + figure + `:\s+(\d+) kB$`).FindSubmatch(text)
	require.NotNil(t, m)
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	require.NoError(t, err)
	return kb << 10
}
