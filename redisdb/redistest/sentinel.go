package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// masterName is what the Sentinels call their master.
const masterName = "oose"

// Sentinels is a master with two replicas, watched by three Sentinels, which
// put another in the master's place a second after it stops answering.
type Sentinels struct {
	Servers   []*Server // the first was made the master
	Sentinels []*Server

	t testing.TB
}

// StartSentinel starts them, and waits until all know one another.
func StartSentinel(t testing.TB, args ...string) *Sentinels {
	t.Helper()
	s := &Sentinels{t: t}
	program := Programs(t)[0]
	master := StartProgram(t, program, append(args, "--repl-diskless-sync-delay", "0")...)
	s.Servers = append(s.Servers, master)
	host, port, _ := strings.Cut(master.Addr, ":")
	for range 2 {
		replica := StartProgram(t, program, append(args, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")...)
		s.Servers = append(s.Servers, replica)
	}
	for range 3 {
		one := prepare(t, program)
		config := filepath.Join(one.Dir, "sentinel.conf")
		lines := []string{
			"port " + one.port(), "bind 127.0.0.1", "dir " + one.Dir, "logfile " + filepath.Join(one.Dir, "log"), "protected-mode no",
			"sentinel monitor " + masterName + " " + host + " " + port + " 2",
			"sentinel down-after-milliseconds " + masterName + " 1000",
			"sentinel failover-timeout " + masterName + " 3000",
			"sentinel parallel-syncs " + masterName + " 2",
		}
		text := strings.Join(lines, "\n") + "\n"
		require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
		one.args = []string{config, "--sentinel"}
		one.Restart()
		s.Sentinels = append(s.Sentinels, one)
	}
	Await(t, s.complete)
	return s
}

// complete tells what is missing.
func (s *Sentinels) complete() error {
	if n := number(s.Servers[0].Info("replication", "connected_slaves")); n != len(s.Servers)-1 {
		return fmt.Errorf("%d replicas", n)
	}
	for _, one := range s.Sentinels {
		line := one.Info("sentinel", "master0")
		if !strings.Contains(line, "status=ok,") || !strings.Contains(line, "slaves=2,sentinels=3") {
			return fmt.Errorf("a sentinel knows %q", line)
		}
	}
	return nil
}

// URL is the engine's address of them.
func (s *Sentinels) URL() string {
	var hosts []string
	for _, one := range s.Sentinels {
		hosts = append(hosts, one.Addr)
	}
	return "redis+sentinel://" + strings.Join(hosts, ",") + "/0?master=" + masterName
}

// Master is the server that most Sentinels hold for the master.
func (s *Sentinels) Master() *Server {
	votes := make(map[string]int)
	for _, one := range s.Sentinels {
		if one.cmd == nil {
			continue
		}
		reply, err := one.client.Do(context.Background(), "sentinel", "get-master-addr-by-name", masterName).StringSlice()
		if err == nil && len(reply) == 2 {
			votes[net.JoinHostPort(reply[0], reply[1])]++
		}
	}
	for _, server := range s.Servers {
		if 2*votes[server.Addr] > len(s.Sentinels) {
			return server
		}
	}
	return nil
}

// AwaitOther waits until another server than old is the master.
func (s *Sentinels) AwaitOther(old *Server) *Server {
	s.t.Helper()
	var now *Server
	Await(s.t, func() error {
		now = s.Master()
		if now == nil || now == old || now.Info("replication", "role") != "master" {
			return errNotYet
		}
		return nil
	})
	return now
}
