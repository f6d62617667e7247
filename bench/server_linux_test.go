package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/integration/freeport"
)

var builds struct {
	sync.Mutex
	folder, program string
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(builds.folder)
	os.Exit(code)
}

// program builds the server as it is released, once.
func program(b *testing.B) string {
	b.Helper()
	builds.Lock()
	defer builds.Unlock()
	if builds.program != "" {
		return builds.program
	}
	folder, err := os.MkdirTemp("", "oose-bench-")
	require.NoError(b, err)
	builds.folder = folder
	path := filepath.Join(folder, "oose")
	out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-w -s", "-o", path, "../cmd/oose").CombinedOutput()
	require.NoError(b, err, "%s", out)
	builds.program = path
	return path
}

// server is a process with one site.
type server struct {
	process *os.Process
	url     string
	admin   string
	stop    func() // may be called before the benchmark's end
}

// start runs the server with one site and global options until the benchmark's end.
func start(b *testing.B, site, options string) *server {
	b.Helper()
	return startAt(b, freeport.Address(b), site, options)
}

func startAt(b *testing.B, address, site, options string) *server {
	b.Helper()
	s := &server{url: "http://" + address, admin: freeport.Address(b)}
	folder := b.TempDir()
	config := filepath.Join(folder, "Caddyfile")
	text := fmt.Sprintf("{\nadmin %s\nauto_https off\nlog {\nlevel ERROR\n}\n%s\n}\n%s {\n%s\n}\n", s.admin, options, s.url, site)
	require.NoError(b, os.WriteFile(config, []byte(text), 0o600))
	cmd := exec.Command(program(b), "run", "--config", config)
	cmd.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
	cmd.Stderr = os.Stderr
	require.NoError(b, cmd.Start())
	s.process = cmd.Process
	s.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	b.Cleanup(s.stop)
	require.Eventually(b, func() bool {
		res, err := http.Get(s.url + "/ping")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	}, 30*time.Second, 20*time.Millisecond)
	return s
}

// put stores a file and returns the URL of a purchase of it.
func (s *server) put(b *testing.B, file string) string {
	b.Helper()
	f, err := os.Open(file)
	require.NoError(b, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(b, err)
	return s.upload(b, f, info.Size())
}

func (s *server) upload(b *testing.B, body io.Reader, size int64) string {
	b.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+s.admin+"/oose/put?name=file.bin", body)
	require.NoError(b, err)
	req.ContentLength = size
	res, err := http.DefaultClient.Do(req)
	require.NoError(b, err)
	defer res.Body.Close()
	var answer struct{ URL string }
	require.NoError(b, json.NewDecoder(res.Body).Decode(&answer))
	require.Equal(b, http.StatusOK, res.StatusCode)
	return answer.URL
}

// cpu is the time that the process has run, in user and kernel mode.
func (s *server) cpu(b *testing.B) time.Duration {
	b.Helper()
	const tick = 10 * time.Millisecond // USER_HZ is 100 (proc(5))
	text := s.proc(b, "stat")
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	user, err := strconv.Atoi(fields[11])
	require.NoError(b, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(b, err)
	return time.Duration(user+system) * tick
}

// peak is the most memory that the process had resident, in bytes.
func (s *server) peak(b *testing.B) int64 { return s.memory(b, "VmHWM") }

// own is the memory that the process has of its own now, in bytes.
func (s *server) own(b *testing.B) int64 { return s.memory(b, "RssAnon") }

func (s *server) memory(b *testing.B, name string) int64 {
	b.Helper()
	line := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`)
	kb, err := strconv.ParseInt(line.FindStringSubmatch(s.proc(b, "status"))[1], 10, 64)
	require.NoError(b, err)
	return kb << 10
}

func (s *server) proc(b *testing.B, name string) string {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.process.Pid, name))
	require.NoError(b, err)
	return string(text)
}
