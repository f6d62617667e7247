package command

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/journal/swarm"
	"github.com/ooseio/oose/peer"
)

func peersCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "peers",
		Usage: "[--json]",
		Short: "Tells who is in the cluster, and how the nodes are connected",
		Long: `Lists the prisms and stores of the cluster as this node knows them, and its
connections to the other nodes: in which direction, in which state, since when,
how far the receiving end is behind, and the last error.`,
	}, cobra.NoArgs, func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, _ []string) error {
			var now adminapi.PeersAnswer
			if err := sh.node.call(ctx, http.MethodGet, "/oose/peers", nil, &now); err != nil {
				return err
			}
			if sh.json {
				return sh.printJSON(now)
			}
			return printPeers(sh, &now)
		}
	})
}

func printPeers(sh *shell, now *adminapi.PeersAnswer) error {
	if now.Conflict != "" {
		sh.print("CONFLICT: " + now.Conflict + "\n")
	}
	rows := []string{"PEER\tAVAILABLE\tNODE\tSITE\tGROUP\tFREE\tADDRESS"}
	for _, p := range now.Peers {
		free := "-"
		if p.Kind == peer.Store {
			free = humanSize(p.Free)
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", p.Name, peerState(p.Peer, p.Available, p.Standing), p.Node,
			orDash(p.Site), orDash(p.Group), free, orDash(p.Cluster)))
	}
	if err := table(sh.out, rows...); err != nil {
		return err
	}
	if len(now.Connections) == 0 {
		return nil
	}
	sh.print("")
	rows = []string{"NODE\tADDRESS\tDIRECTION\tSTATE\tFOR\tBEHIND\tCLOCK\tLAST ERROR"}
	slices.SortStableFunc(now.Connections, func(a, b swarm.Connection) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range now.Connections {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s", orDash(c.Name), orDash(c.Address), c.Direction, c.State,
			time.Since(c.Since).Round(time.Second), c.Lag, clockText(c), orDash(c.LastError)))
	}
	return table(sh.out, rows...)
}

// peerState tells whether a peer can be used, and why not.
func peerState(p heartbeat.Peer, available bool, standing heartbeat.Standing) string {
	switch {
	case !p.Active:
		return "no, switched off"
	case p.Kind == peer.Store && !p.Online:
		return "no, offline"
	case standing == heartbeat.Down:
		return "no, down by votes"
	case standing == heartbeat.Unreached:
		return "no, this node does not reach it"
	case !available:
		return "no, does not answer"
	case p.Kind == peer.Store && (!p.Writable || !p.Room):
		return "yes, not for new clones"
	}
	return "yes"
}

// clockText tells how another node's clock differs from ours.
func clockText(c swarm.Connection) string {
	if !c.ClockKnown {
		return "-"
	}
	text := c.ClockOffset.Round(time.Millisecond).String()
	if c.ClockOff {
		text += " OFF"
	}
	return text
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
