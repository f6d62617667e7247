package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// makeMovie makes a real MP4 once for the whole run: 30 s of 720p H.264 with
// AAC, its index in front, about 24 MB.
var makeMovie = sync.OnceValues(func() (string, error) {
	path := filepath.Join(shared, "movie.mp4")
	out, err := exec.Command("ffmpeg", "-v", "error", "-y",
		"-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=30",
		"-f", "lavfi", "-i", "sine=frequency=440:duration=30",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50",
		"-c:a", "aac", "-movflags", "+faststart", path).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ffmpeg: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return path, nil
})

// movie returns the MP4's path and its bytes, which are shared.
func movie(t testing.TB) (string, []byte) {
	t.Helper()
	path, err := makeMovie()
	require.NoError(t, err)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return path, b
}
