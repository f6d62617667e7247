package redisdb

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/redisdb/redistest"
)

func (n *node) mustWarn(t *testing.T, want ...string) {
	t.Helper()
	redistest.Await(t, func() error {
		n.health.examine(t.Context(), true)
		got := n.Stats().Warnings
		if len(got) != len(want) {
			return fmt.Errorf("warnings %q", got)
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				return fmt.Errorf("warnings %q", got)
			}
		}
		return nil
	})
	for _, w := range want {
		require.Equal(t, 1, n.logs.FilterMessageSnippet(w).Len(), "%s is said once", w)
	}
}

func TestWarnings(t *testing.T) {
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	n.mustWarn(t)
	s.Do("config", "set", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
	n.mustWarn(t, "set maxmemory-policy noeviction")
	s.Do("config", "set", "appendonly", "no")
	n.mustWarn(t, "set maxmemory-policy noeviction", "set appendonly yes")
	s.Do("config", "set", "maxmemory-policy", "noeviction")
	n.mustWarn(t, "set appendonly yes")
	s.Do("config", "set", "save", "60 1")
	n.mustWarn(t)
	require.Equal(t, "single", n.Stats().Mode)
	require.Equal(t, "me", n.Stats().Source)
	require.GreaterOrEqual(t, n.Stats().Behind, 0.0)
	require.Less(t, n.Stats().Behind, 1.0)
}

func TestSettingsForbidden(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	s.Do("acl", "setuser", "oose", "on", ">pw", "~*", "+@all", "-config")
	n := open(t, strings.Replace(s.URL(), "://", "://oose:pw@", 1), "me").ready(t)
	for range 3 {
		n.health.examine(t.Context(), true)
	}
	n.mustWarn(t)
	require.Equal(t, 1, n.logs.FilterMessageSnippet("does not tell its settings").Len(), "once")
}

func TestReplicaIsRefused(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--repl-diskless-sync-delay", "0")
	host, port, _ := strings.Cut(s.Addr, ":")
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	redistest.Await(t, func() error {
		if replica.Info("replication", "master_link_status") != "up" {
			return errors.New("not linked")
		}
		return nil
	})
	n := open(t, replica.URL(), "me")
	n.mustWarn(t, "redis is a replica")
	_, err := n.Get(t.Context(), "user", "a")
	if err != nil {
		require.ErrorContains(t, err, "not available")
	}
}

func TestInfo(t *testing.T) {
	require.Equal(t, map[string]string{"role": "master", "slave0": "ip=1,state=online"},
		parseInfo("# Replication\r\nrole:master\r\nslave0:ip=1,state=online\r\n\r\n"))
}

// TestWarningsEnd: a server that was replaced is not warned of for ever.
func TestWarningsEnd(t *testing.T) {
	t.Parallel()
	n := open(t, redistest.Start(t).URL(), "me").ready(t)
	n.health.warn("192.0.2.1:6379", "role", true, "redis is a replica")
	redistest.Await(t, func() error {
		if list := n.Stats().Warnings; len(list) > 0 {
			return errors.New(list[0])
		}
		return nil
	})
}
