package redistest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/integration/freeport"
)

const slots = 16384

// Cluster is a Cluster of three masters, perhaps with a replica each.
type Cluster struct {
	Masters  []*Server
	Replicas []*Server // of the master with the same number

	t testing.TB
}

// StartCluster starts three masters.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return startCluster(t, false, args)
}

// StartClusterWithReplicas starts three masters with a replica each, which take
// the place of a master a second or two after it stops answering.
func StartClusterWithReplicas(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return startCluster(t, true, args)
}

func startCluster(t testing.TB, replicas bool, args []string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	program := Programs(t)[0]
	start := func() *Server {
		bus := strconv.Itoa(freeport.Get(t))
		return StartProgram(t, program, append(args, "--cluster-enabled", "yes", "--cluster-port", bus,
			"--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0", "--cluster-announce-ip", "127.0.0.1")...)
	}
	const masters = 3
	for i := range masters {
		one := start()
		one.Do("cluster", "addslotsrange", slots*i/masters, slots*(i+1)/masters-1)
		c.Masters = append(c.Masters, one)
	}
	if replicas {
		for range masters {
			c.Replicas = append(c.Replicas, start())
		}
	}
	for _, one := range c.all()[1:] {
		bus := one.args[len(one.args)-1]
		for i, arg := range one.args {
			if arg == "--cluster-port" {
				bus = one.args[i+1]
			}
		}
		host, port, err := net.SplitHostPort(one.Addr)
		require.NoError(t, err)
		c.Masters[0].Do("cluster", "meet", host, port, bus)
	}
	Await(t, c.known)
	for i, replica := range c.Replicas {
		id := c.Masters[i].Do("cluster", "myid")
		replica.Do("cluster", "replicate", id)
	}
	Await(t, c.complete)
	return c
}

func (c *Cluster) all() []*Server { return append(append([]*Server{}, c.Masters...), c.Replicas...) }

// known tells which server does not know all others.
func (c *Cluster) known() error {
	for _, one := range c.all() {
		text, err := one.client.ClusterInfo(context.Background()).Result()
		if err != nil || !strings.Contains(text, fmt.Sprintf("cluster_known_nodes:%d\r", len(c.all()))) {
			return fmt.Errorf("%s says %q (%v)", one.Addr, text, err)
		}
	}
	return nil
}

// complete tells what keeps the Cluster from working.
func (c *Cluster) complete() error {
	for _, one := range c.all() {
		text, err := one.client.ClusterInfo(context.Background()).Result()
		if err != nil || !strings.Contains(text, "cluster_state:ok") {
			return fmt.Errorf("%s says %q (%v)", one.Addr, text, err)
		}
	}
	for i := range c.Replicas {
		if n := c.Masters[i].Info("replication", "connected_slaves"); n != "1" {
			return fmt.Errorf("%s replicas", n)
		}
		if up := c.Replicas[i].Info("replication", "master_link_status"); up != "up" {
			return fmt.Errorf("a replica is %s", up)
		}
	}
	return nil
}

// URL is the engine's address of the Cluster.
func (c *Cluster) URL() string {
	var hosts []string
	for _, one := range c.Masters {
		hosts = append(hosts, one.Addr)
	}
	return "redis+cluster://" + strings.Join(hosts, ",")
}
