package node

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/heartbeat/monitor"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/redisdb"
)

func TestProblems(t *testing.T) {
	name, err := peer.ParseName("prism1:om102")
	require.NoError(t, err)
	well := heartbeat.Peer{Name: name, Kind: peer.Store, Active: true, Writable: true, Online: true, Room: true}
	changed := func(f func(*heartbeat.Peer)) heartbeat.Peer {
		p := well
		f(&p)
		return p
	}
	store := inventory.Status{Name: "om101", State: inventory.Online, Writable: true}
	for _, c := range []struct {
		name     string
		status   Status
		peers    []peerView
		unready  bool
		conflict error
		want     []Problem
	}{
		{name: "all is well", status: Status{
			Stores: []inventory.Status{store}, Journal: &journal.Stats{Free: 10, Floor: 5}, Heartbeat: &monitor.Status{}, Redis: &redisdb.Stats{},
			Repair: repair.Status{Surplus: 3, LastError: "long ago", Failed: 2},
		}, peers: []peerView{{Peer: well, available: true}}},
		{name: "what is switched off is meant so", peers: []peerView{
			{Peer: changed(func(p *heartbeat.Peer) { p.Active = false })},
			{Peer: changed(func(p *heartbeat.Peer) { p.Draining, p.Writable = true, false }), available: true},
		}},
		{name: "own peers are told of by their stores", peers: []peerView{{Peer: changed(func(p *heartbeat.Peer) { p.Online = false }), local: true}}},
		{name: "a part ended", status: Status{Failed: []string{"repair: x"}}, want: []Problem{{"node", "", "a part of the node has ended; restart the node: repair: x"}}},
		{name: "not ready", unready: true, want: []Problem{{"node", "", "this node has not caught up with the others yet"}}},
		{name: "another of this name", unready: true, conflict: errors.New("two nodes"), want: []Problem{{"node", "", "two nodes"}}},
		{name: "doubting", status: Status{Heartbeat: &monitor.Status{Doubting: true, Down: true}}, want: []Problem{{"node", "", "this node fails to reach most of the others"}}},
		{name: "voted down", status: Status{Heartbeat: &monitor.Status{Down: true}}, want: []Problem{{"node", "", "the others do not reach this node"}}},
		{name: "audit", status: Status{Audit: &audit.Status{Waiting: 2, Error: "disk full"}}, want: []Problem{{"audit", "", "2 entries wait for the audit log: disk full"}}},
		{name: "journal", status: Status{Journal: &journal.Stats{Free: 4, Floor: 5, Failure: "fsync", Damaged: true}}, want: []Problem{
			{"records", "", "the journal takes no writes until a restart: fsync"},
			{"records", "", "the journal's files are damaged: what is not found may have been lost"},
			{"records", "", "the disk of the records is full: 4 bytes are free, and nothing is written below 5"},
		}},
		{name: "free space is not known", status: Status{Journal: &journal.Stats{Free: -1, Floor: 5}}},
		{name: "redis", status: Status{Redis: &redisdb.Stats{Away: 1, Warnings: []string{"it forgets"}, Failure: "refused"}}, want: []Problem{
			{"records", "", "Redis can't be used: refused"},
			{"records", "", "Redis does not answer, or is not read to its end"},
			{"records", "", "it forgets"},
		}},
		{name: "stores", status: Status{Stores: []inventory.Status{
			{Name: "a", State: inventory.Offline, Reason: "no marker"}, {Name: "b", State: inventory.Suspect},
			{Name: "c", State: inventory.Online, Reason: "the disk is full"}, {Name: "d", State: inventory.Online, Writable: true, Scrub: inventory.ScrubStatus{Slow: true}},
		}}, want: []Problem{
			{"store", "a", "offline: no marker"}, {"store", "b", "suspect"}, {"store", "c", "takes no new clones: the disk is full"},
			{"store", "d", "not all clones can be read within `scrub { every }`: raise `scrub { bandwidth }`"},
		}},
		{name: "peers", peers: []peerView{
			{Peer: changed(func(p *heartbeat.Peer) { p.Online = false })}, {Peer: well},
			{Peer: changed(func(p *heartbeat.Peer) { p.Suspect = true }), available: true},
		}, want: []Problem{
			{"peer", "prism1:om102", "its node says that its disk can't be read"}, {"peer", "prism1:om102", "does not answer"},
			{"peer", "prism1:om102", "its disk has failed, and not passed a test since"},
		}},
		{name: "clones", status: Status{Repair: repair.Status{Missing: 5, Urgent: 2, Waiting: 1, Held: 3}}, want: []Problem{
			{"clones", "", "5 clones are missing that this node is to make, 2 of contents with one good clone or none"},
			{"clones", "", "1 contents lack clones that other nodes are to make"},
			{"clones", "", "3 stores are away for long, and too many at once to make their clones anew without being told: see `oose clones repair --now`"},
		}},
	} {
		got := problems(&c.status, c.peers, !c.unready, c.conflict)
		require.NotNil(t, got, "an empty list, not null")
		if len(c.want) == 0 {
			require.Empty(t, got, c.name)
			continue
		}
		require.Equal(t, c.want, got, c.name)
	}
}
