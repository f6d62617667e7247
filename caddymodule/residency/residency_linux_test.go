package residency

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnwrittenMappings(t *testing.T) {
	const smaps = `00400000-01000000 r-xp 00000000 fe:00 12 /opt/my oose
Size:              12288 kB
Anonymous:             0 kB
01000000-02000000 r--p 00c00000 fe:00 12 /opt/my oose
Anonymous:             0 kB
02000000-02100000 r--p 01c00000 fe:00 12 /opt/my oose
Anonymous:           336 kB
02100000-02200000 rw-p 01d00000 fe:00 12 /opt/my oose
Anonymous:             0 kB
02200000-02300000 r--s 01d00000 fe:00 12 /opt/my oose
Anonymous:             0 kB
02300000-02400000 r--p 00000000 fe:00 13 /lib/libc.so.6
Anonymous:             0 kB
02400000-02500000 r--p 00000000 00:00 0
Anonymous:             0 kB
02500000-02600000 r--p 01c00000 fe:00 12 /opt/my oose
Size:               1024 kB
`
	list, err := unwrittenOf([]byte(smaps), "/opt/my oose")
	require.NoError(t, err)
	require.Equal(t, []mapping{{0x400000, 0x1000000}, {0x1000000, 0x2000000}}, list,
		"not what was written to, can be, is shared, is another's, or is not told")
}

// A program with parts that its loader writes to and then protects goes on after
// its pages were given back.
func TestTrimWithProtectedParts(t *testing.T) {
	if os.Getenv("OOSE_TEST_TRIM") != "" {
		require.NoError(t, Trim())
		require.NoError(t, Trim())
		return
	}
	for name, flags := range map[string][]string{
		"position independent": {"-buildmode=pie"},
		"external linker":      {"-ldflags=-linkmode=external"},
	} {
		t.Run(name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "residency.test")
			build := exec.Command("go", append([]string{"test", "-c", "-o", binary}, append(flags, ".")...)...)
			build.Env = append(os.Environ(), "CGO_ENABLED=1")
			out, err := build.CombinedOutput()
			require.NoError(t, err, "%s", out)
			run := exec.Command(binary, "-test.run", "^TestTrimWithProtectedParts$")
			run.Env = append(os.Environ(), "OOSE_TEST_TRIM=1")
			out, err = run.CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
}
