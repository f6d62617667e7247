package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/integration/freeport"
)

// patience bounds how long a test waits for what must happen. It is far above
// what things take, for machines that are busy.
const patience = 120 * time.Second

// Node is one running node.
type Node struct {
	Dir   string // its folder: configuration, data, stores, logs
	Host  string // the address that its sites are bound to
	Port  int    // plain HTTP
	TLS   int    // HTTPS: TCP, and UDP for HTTP/3
	Admin int    // the admin endpoint

	t      testing.TB
	config Config
	env    []string
	wrap   []string
	space  []string // a command in front of the node and of all commands beside it
	mounts []string
	binary string // the program, in place of this one
	resume bool   // start from the configuration that Caddy saved
	dial   dialer // nil: as usual

	asking sync.Once
	client *http.Client // of asks

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd ended, after err is set
	err    error
}

// dialer is net.Dialer's DialContext, from wherever the node is reached.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Client is Client from where the node is reached.
func (n *Node) Client() *http.Client {
	client := Client(n.t)
	client.Transport.(*http.Transport).DialContext = n.dial
	return client
}

// Option changes how a node is started.
type Option func(*Node)

// WithEnv adds environment variables, each "NAME=value".
func WithEnv(vars ...string) Option { return func(n *Node) { n.env = append(n.env, vars...) } }

// WithWrap puts a command in front of the node's ($DIR and the ports are put in).
func WithWrap(words ...string) Option { return func(n *Node) { n.wrap = words } }

// WithHost binds the node's sites to another address of this machine.
func WithHost(address string) Option { return func(n *Node) { n.Host = address } }

// WithBinary starts another program than this one as the node.
func WithBinary(path string) Option { return func(n *Node) { n.binary = path } }

// Start starts a node in a fresh folder and waits until it answers. It is
// stopped, and its log checked, when the test ends.
func Start(t testing.TB, config Config, options ...Option) *Node {
	t.Helper()
	n := Prepare(t, config, options...)
	n.Begin()
	return n
}

// Prepare is Start without starting: the folder and the configuration are there.
func Prepare(t testing.TB, config Config, options ...Option) *Node {
	t.Helper()
	n := &Node{t: t, Dir: t.TempDir(), Host: "127.0.0.1", config: config, Port: freeport.Get(t), TLS: freeport.Get(t), Admin: freeport.Get(t)}
	for _, o := range options {
		o(n)
	}
	n.Configure(config)
	t.Cleanup(n.finish)
	return n
}

// Configure writes the configuration that the next start or reload reads.
func (n *Node) Configure(config Config) {
	n.t.Helper()
	n.config = config
	require.NoError(n.t, os.WriteFile(n.Path("Caddyfile"), []byte(n.Expand(config.String())), 0o600))
}

// Expand puts this node's folder, address and ports in for $DIR, $HOST, $PORT,
// $TLS and $ADMIN.
func (n *Node) Expand(s string) string {
	return strings.NewReplacer("$DIR", n.Dir, "$HOST", n.Host, "$PORT", strconv.Itoa(n.Port), "$TLS", strconv.Itoa(n.TLS),
		"$ADMIN", strconv.Itoa(n.Admin)).Replace(s)
}

// Path returns a path below the node's folder.
func (n *Node) Path(elem ...string) string { return filepath.Join(append([]string{n.Dir}, elem...)...) }

// URL returns the address of a path at the node's plain site.
func (n *Node) URL(path string) string { return fmt.Sprintf("http://%s:%d%s", n.Host, n.Port, path) }

// AdminURL returns the address of a path at the admin endpoint.
func (n *Node) AdminURL(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", n.Admin, path)
}

// Begin starts the process and waits until /ping answers 200.
func (n *Node) Begin() {
	n.t.Helper()
	n.spawn()
	n.WaitReady()
}

// WaitReady waits until /ping of the plain site answers 200. Nothing else is
// waited for: whose disk answers is there from the first request on.
func (n *Node) WaitReady() {
	n.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: n.dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	n.Eventually(func() bool {
		res, err := client.Get(n.URL("/ping"))
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, "the node answers /ping")
	// Caddy serves a configuration a moment before its admin API knows it.
	n.Eventually(func() bool {
		res, err := client.Get(n.AdminURL("/oose/status"))
		if err != nil {
			return true // it is elsewhere, or off
		}
		res.Body.Close()
		return res.StatusCode != http.StatusServiceUnavailable
	}, "the configuration is in effect")
}

// SpawnOnly starts the process and waits until it can be asked about itself; it
// need not be ready.
func (n *Node) SpawnOnly() {
	n.t.Helper()
	n.spawn()
	client := n.Client()
	n.Eventually(func() bool {
		res, err := client.Get(n.AdminURL("/oose/status"))
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, "the node tells its status")
}

// Eventually waits for a condition, and fails at once when the node has ended.
func (n *Node) Eventually(condition func() bool, what string) {
	n.t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-n.Exited():
			n.t.Fatalf("the node ended (%v) before: %s", n.err, what)
		case <-end.C:
			n.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// Exited is closed when the node's process has ended.
func (n *Node) Exited() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.exited
}

// Running tells whether the node's process runs.
func (n *Node) Running() bool {
	exited := n.Exited()
	if exited == nil {
		return false
	}
	select {
	case <-exited:
		return false
	default:
		return true
	}
}

// PID returns the process's id.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

// command prepares this binary as `oose` with arguments, in the node's folder.
func (n *Node) command(ctx context.Context, args ...string) *exec.Cmd {
	program := n.binary
	if program == "" {
		self, err := os.Executable()
		require.NoError(n.t, err)
		program = self
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = n.Dir
	cmd.Env = append(os.Environ(), asNode+"=1", "HOME="+n.Dir, "XDG_DATA_HOME="+n.Path("xdg"), "XDG_CONFIG_HOME="+n.Path("xdg"),
		fmt.Sprintf("CADDY_ADMIN=127.0.0.1:%d", n.Admin), "NO_COLOR=1",
		// Races are looked for in the log; the second that the detector waits at
		// every exit for more of them is too long for so many commands.
		"GORACE=exitcode=0 atexit_sleep_ms=50")
	cmd.Env = append(cmd.Env, n.env...)
	if len(n.space) > 0 {
		path, err := exec.LookPath(n.space[0])
		require.NoError(n.t, err)
		cmd.Args, cmd.Path = append(slices.Clone(n.space), append([]string{cmd.Path}, cmd.Args[1:]...)...), path
	}
	return cmd
}

func (n *Node) spawn() {
	n.t.Helper()
	log, err := os.OpenFile(n.Path("stderr.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(n.t, err)
	defer log.Close() // the child has its own descriptor
	args := []string{"run", "--config", n.Path("Caddyfile"), "--adapter", "caddyfile"}
	if n.resume {
		args = []string{"run", "--resume"}
	}
	cmd := n.command(context.Background(), args...)
	if len(n.wrap) > 0 {
		words := strings.Split(n.Expand(strings.Join(n.wrap, "\x00")), "\x00")
		path, err := exec.LookPath(words[0])
		require.NoError(n.t, err)
		cmd.Args = append(words, append([]string{cmd.Path}, cmd.Args[1:]...)...)
		cmd.Path = path
	}
	isolate(cmd, n.mounts)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(n.t, cmd.Start())
	exited := make(chan struct{})
	n.mu.Lock()
	n.cmd, n.exited = cmd, exited
	n.mu.Unlock()
	go func() {
		n.err = cmd.Wait()
		close(exited)
	}()
}

// Kill ends the process as a power cut would: SIGKILL, no last word.
func (n *Node) Kill() {
	n.t.Helper()
	require.NoError(n.t, n.cmd.Process.Kill())
	<-n.Exited()
}

// Stop ends the process in order (SIGINT) and wants exit code 0.
func (n *Node) Stop() {
	n.t.Helper()
	require.NoError(n.t, n.cmd.Process.Signal(os.Interrupt))
	select {
	case <-n.Exited():
		require.NoError(n.t, n.err, "the node's exit")
	case <-time.After(patience):
		n.t.Fatalf("the node did not stop within %s", patience)
	}
}

// Restart starts the process again, after Kill or Stop, in the same folder.
func (n *Node) Restart() {
	n.t.Helper()
	n.Begin()
}

// Result is what a command printed, and how it ended.
type Result struct {
	Out, Err string
	Code     int
}

// Run runs an `oose` command beside the node and returns what it did.
func (n *Node) Run(args ...string) Result { return n.RunWith(nil, args...) }

// RunWith is Run with something to read on standard input.
func (n *Node) RunWith(input []byte, args ...string) Result {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := n.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatalf("running oose %s: %v", strings.Join(args, " "), err)
	}
	return Result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// MustRun is Run for a command that must succeed; it returns what it printed.
func (n *Node) MustRun(args ...string) string {
	n.t.Helper()
	return n.MustRunWith(nil, args...)
}

// MustRunWith is RunWith for a command that must succeed.
func (n *Node) MustRunWith(input []byte, args ...string) string {
	n.t.Helper()
	r := n.RunWith(input, args...)
	require.Zero(n.t, r.Code, "oose %s: %s%s", strings.Join(args, " "), r.Out, r.Err)
	return r.Out
}

// Reload loads a configuration as `oose reload` does.
func (n *Node) Reload(config Config) Result {
	n.t.Helper()
	n.Configure(config)
	return n.Run("reload", "--config", n.Path("Caddyfile"), "--adapter", "caddyfile", "--force")
}

// Log returns all the node's process has written so far.
func (n *Node) Log() string {
	text, err := os.ReadFile(n.Path("stderr.log"))
	if err != nil {
		return ""
	}
	return string(text)
}

// trouble is what must not appear in a node's log.
var trouble = regexp.MustCompile(`(?m)^.*(DATA RACE|panic: |panic serving|fatal error: |goroutine \d+ \[).*$`)

func (n *Node) finish() {
	if exited := n.Exited(); exited != nil {
		select {
		case <-exited:
		default:
			_ = n.cmd.Process.Signal(os.Interrupt)
			select {
			case <-exited:
			case <-time.After(patience):
				_ = n.cmd.Process.Kill()
				<-exited
				n.t.Errorf("the node did not stop within %s", patience)
			}
		}
	}
	log := n.Log()
	sound := withoutCaddyRace(log)
	if at := trouble.FindStringIndex(sound); at != nil {
		const context = 6000
		n.t.Errorf("the node's log has trouble:\n%s", sound[at[0]:min(len(sound), at[0]+context)])
	}
	if n.t.Failed() {
		const last = 8_000
		told := telling(log)
		n.t.Logf("log of the node in %s, without what nodes ask one another and what events there were:\n%s", n.Dir, told[max(0, len(told)-last):])
	}
}

// telling takes out of a log what says nothing to who looks for a failure: where
// seven nodes probe one another each second, that is nearly all of it.
func telling(log string) string {
	lines := strings.SplitAfter(log, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
		return strings.Contains(line, `"uri":"/cluster/`) || strings.Contains(line, `"logger":"events"`) || strings.Contains(line, `"msg":"badger: `)
	}), "")
}

// withoutCaddyRace takes the reports of one race out of a log, which Caddy 2.11.9
// has by itself: its TLS app notes a ticker in Start (caddytls/tls.go) while its
// job that gets a certificate copies the app to name it in an event.
func withoutCaddyRace(log string) string {
	const line = "==================\n"
	reports := strings.Split(log, line)
	return strings.Join(slices.DeleteFunc(reports, func(r string) bool {
		return strings.HasPrefix(r, "WARNING: DATA RACE") &&
			strings.Contains(r, "caddytls.(*TLS).CaddyModule()") && strings.Contains(r, "caddytls.(*TLS).Start()")
	}), line)
}
