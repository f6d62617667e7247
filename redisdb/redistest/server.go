// Package redistest starts real Redis servers for tests: one server, a master
// with replicas and three Sentinels, a Cluster. All listen on the loopback
// interface, on free ports, keep their files in the test's folder, and end with
// the test.
package redistest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/integration/freeport"
)

// startWithin is how long a server has to answer after its start, and a set of
// servers to agree.
const startWithin = 30 * time.Second

// Server is one process of redis-server.
type Server struct {
	Addr string // host:port
	Dir  string // its files; "log" among them

	t       testing.TB
	program string
	args    []string
	cmd     *exec.Cmd
	exited  chan struct{}
	client  *redis.Client
}

// Programs returns the servers that are installed: redis-server, valkey-server.
// Without one the test fails. OOSE_REDIS_SERVER names another.
func Programs(t testing.TB) []string {
	t.Helper()
	if name := os.Getenv("OOSE_REDIS_SERVER"); name != "" {
		return []string{name}
	}
	var found []string
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		t.Fatal("this test needs redis-server: install it (Debian: apt-get install redis-server)")
	}
	return found
}

// Start starts one server that saves what it is told. Args are settings, such
// as "--maxmemory", "10mb".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartProgram(t, Programs(t)[0], args...)
}

// StartProgram is Start with one of Programs.
func StartProgram(t testing.TB, program string, args ...string) *Server {
	t.Helper()
	s := prepare(t, program)
	s.args = append(s.args, "--appendonly", "yes", "--save", "")
	s.args = append(s.args, args...)
	s.Restart()
	return s
}

// prepare makes a server that is not started yet.
func prepare(t testing.TB, program string) *Server {
	t.Helper()
	logging.Disable() // a server that does not listen yet is no news
	s := &Server{t: t, program: program, Dir: t.TempDir(), Addr: freeport.Address(t)}
	s.args = []string{
		"--port", s.port(), "--bind", "127.0.0.1", "--dir", s.Dir, "--daemonize", "no",
		"--logfile", filepath.Join(s.Dir, "log"), "--protected-mode", "no", "--enable-debug-command", "yes",
	}
	s.client = redis.NewClient(&redis.Options{
		Addr: s.Addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1,
		ReadTimeout: 5 * time.Second, ContextTimeoutEnabled: true, PipelinePoolSize: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() {
		_ = s.client.Close()
		s.Kill()
	})
	return s
}

func (s *Server) port() string {
	_, port, _ := strings.Cut(s.Addr, ":")
	return port
}

// URL is the server's address for the engine, database 0.
func (s *Server) URL() string { return "redis://" + s.Addr + "/0" }

// Client is a connection for the test's own questions.
func (s *Server) Client() *redis.Client { return s.client }

// Restart starts the server, again with its files, and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.cmd = exec.Command(s.program, s.args...)
	// Leaving the test by a signal must not leave servers behind.
	s.cmd.SysProcAttr = endWithUs()
	require.NoError(s.t, s.cmd.Start(), "starting %s", s.program)
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	Await(s.t, func() error {
		select {
		case <-exited:
			log, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
			s.t.Fatalf("%s has ended: %s", s.program, log)
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return s.client.Ping(ctx).Err()
	})
}

// Kill ends the server at once, as losing its machine would.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// Pid is the server's process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Do has the server do something, and fails the test where it does not.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	v, err := s.client.Do(context.Background(), args...).Result()
	if err != redis.Nil { //nolint:errorlint // it is never wrapped
		require.NoError(s.t, err, "%v", args)
	}
	return v
}

// Info is one line of what INFO tells.
func (s *Server) Info(section, name string) string {
	text, err := s.client.Info(context.Background(), section).Result()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && key == name {
			return value
		}
	}
	return ""
}

// Await waits until f returns nil, and fails the test where that takes too long.
func Await(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(startWithin)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %v", err)
		}
		pause := time.NewTimer(20 * time.Millisecond)
		<-pause.C
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

var errNotYet = fmt.Errorf("not yet")
