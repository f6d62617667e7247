package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/caddymodule/adminapi"
)

func drainCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "drain",
		Usage: "[--no-wait] [--json] <store>",
		Short: "Empties a store: its clones are made elsewhere, until it is safe to remove",
		Long: `Has a store take no new clones, and its clones made in other stores; it is read
as ever meanwhile. The command shows how far that is, until no content needs the
store any more. It may be interrupted: the draining goes on by itself, and also
after a restart, and the same command shows how far it is. 'undrain' takes it
back. A content that can't be copied now keeps no other from being copied.`,
	}, cobra.ExactArgs(1), func(cmd *cobra.Command) action {
		wait := cmd.Flags().Bool("wait", true, "Wait until the store is safe to remove")
		noWait := cmd.Flags().Bool("no-wait", false, "Begin, tell how far it is, and end")
		return func(ctx context.Context, sh *shell, args []string) error {
			sh.bar.start("drain " + args[0])
			var last adminapi.DrainLine
			ask := adminapi.DrainRequest{Store: args[0], Wait: *wait && !*noWait}
			err := sh.node.streamLines(ctx, "/oose/drain", ask, func(line adminapi.StreamLine) {
				if line.Drain != nil {
					last = *line.Drain
					sh.showDrain(last)
				}
			}, &last)
			sh.bar.finish()
			if err != nil && ctx.Err() != nil && last.Store != "" {
				fmt.Fprintf(sh.err, "%s goes on by itself: %s\n", last.Store, drainText(&last))
			}
			if err != nil {
				return err
			}
			if sh.json {
				return sh.printJSON(last)
			}
			printDrain(sh, &last)
			return nil
		}
	})
}

// showDrain draws the bar.
func (sh *shell) showDrain(l adminapi.DrainLine) {
	part := 1.0
	if l.Of > 0 {
		part = 1 - float64(l.Needed)/float64(max(l.Of, l.Needed))
	}
	text := fmt.Sprintf("%s left", humanCount(l.Needed))
	if l.Rate > 0 {
		text += fmt.Sprintf(", %.1f/s", l.Rate)
	}
	if l.BytesRate > 0 {
		text += ", " + humanSize(l.BytesRate) + "/s"
	}
	if l.Remaining > 0 {
		text += ", " + (time.Duration(l.Remaining) * time.Millisecond).Round(time.Second).String() + " to go"
	}
	if l.LastError != "" {
		text += "; " + l.LastError
	}
	sh.bar.steps(part, text)
}

// drainText tells in words how far a store is.
func drainText(l *adminapi.DrainLine) string {
	text := fmt.Sprintf("%s %s still needed", humanCount(l.Needed), plural(int(l.Needed), "clone is", "clones are"))
	if l.Alone > 0 {
		text += fmt.Sprintf(" (%s of them the only good one)", humanCount(l.Alone))
	}
	return text + fmt.Sprintf(", of %s there (%s)", humanCount(l.Left), humanSize(l.Bytes))
}

func printDrain(sh *shell, l *adminapi.DrainLine) {
	if !l.Safe {
		sh.print("%s is draining: %s", l.Store, drainText(l))
		return
	}
	sh.print("%s is safe to remove", l.Store)
	if l.Left > 0 {
		sh.print("  %s %s on it and %s not needed", humanCount(l.Left), plural(int(l.Left), "clone still lies", "clones still lie"), plural(int(l.Left), "is", "are"))
	}
	if l.Blocked > 0 {
		sh.print("  %s %s blocked and not copied: what is blocked goes with the store", humanCount(l.Blocked), plural(int(l.Blocked), "of them is", "of them are"))
	}
	sh.print("  take it out of the configuration, and then: forget %s", l.Store)
}

func undrainCommand() caddycmd.Command {
	return storeWordCommand("undrain", "Takes a draining back: the store takes clones again",
		"Takes a draining back. The store takes clones again; what was copied elsewhere and\nis too much then is dropped by and by.", "takes clones again")
}

func forgetCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name: "forget", Usage: "[--json] <store>|<prism>|<id>",
		Short: "Gives up a store, or a prism, that never comes back",
		Long: `Gives up a store that is gone for good: it leaves the registry, its clones count
no more, so that they are made anew, and all nodes drop what they know of them.
It says what had its only good clone there. A store that still answers is not
forgotten: drain it, and stop its node or take it out of the configuration first.
Should its disk come back after all, it is a new store: everything on it is read
before it counts.

A store whose name another medium has since 'oose adopt' goes by its id, which
the log has told.

A prism that is gone for good leaves the registry: its node is asked no more
whether it alone knows a purchase or a session, which would be answered 503 for
ever. Should it come back, it registers again.`,
	}, cobra.ExactArgs(1), func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, args []string) error {
			var answer adminapi.ForgetAnswer
			if err := sh.node.streamLines(ctx, "/oose/forget", adminapi.StoreRequest{Store: args[0]}, nil, &answer); err != nil {
				return err
			}
			if sh.json {
				return sh.printJSON(answer)
			}
			printForgotten(sh, &answer)
			return nil
		}
	})
}

// printForgotten says what went with a store.
func printForgotten(sh *shell, a *adminapi.ForgetAnswer) {
	sh.print("%s is forgotten", a.Store)
	if a.Short > 0 {
		sh.print("  %s %s made anew elsewhere", humanCount(a.Short), plural(int(a.Short), "clone is", "clones are"))
	}
	if a.Alone == 0 {
		return
	}
	sh.print("  LOST: of %s %s no other store has a good clone. Upload %s again, or bring the disk back:",
		humanCount(a.Alone), plural(int(a.Alone), "content", "contents"), plural(int(a.Alone), "it", "them"))
	for _, h := range a.Lost {
		sh.print("    %s", h)
	}
	if more := a.Alone - int64(len(a.Lost)); more > 0 {
		sh.print("    and %s more", humanCount(more))
	}
}

// storeWordCommand makes a command that says one word about a store.
func storeWordCommand(name, short, long, done string) caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name: name, Usage: "[--json] <store>", Short: short, Long: long,
	}, cobra.ExactArgs(1), func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, args []string) error {
			var answer adminapi.StoreAnswer
			if err := sh.node.streamLines(ctx, "/oose/"+name, adminapi.StoreRequest{Store: args[0]}, nil, &answer); err != nil {
				return err
			}
			if sh.json {
				return sh.printJSON(answer)
			}
			sh.print("%s %s", answer.Store, done)
			return nil
		}
	})
}

func switchCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "switch",
		Usage: "[--json] <peer> active|inactive|writable|readonly",
		Short: "Switches a prism or store in or out of service, or keeps new clones from a store",
		Long: `Switches a peer for the whole cluster, until it is switched again. What is
inactive is chosen for nothing: other stores and prisms serve. A store that is
readonly takes no new clones; its own are served, and count. To empty a store, use
'drain'.`,
	}, cobra.ExactArgs(2), func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, args []string) error {
			ask, err := readSwitch(args[0], args[1])
			if err != nil {
				return err
			}
			var now adminapi.SwitchAnswer
			if err := sh.node.call(ctx, http.MethodPost, "/oose/switch", ask, &now); err != nil {
				return err
			}
			if sh.json {
				return sh.printJSON(now)
			}
			sh.print("%s: active %s, writable %s, draining %s", now.Peer, yesNo(now.Active), yesNo(now.Writable), yesNo(now.Draining))
			return nil
		}
	})
}

func readSwitch(name, word string) (adminapi.SwitchRequest, error) {
	ask, on := adminapi.SwitchRequest{Peer: name}, word == "active" || word == "writable"
	switch word {
	case "active", "inactive":
		ask.Active = &on
	case "writable", "readonly":
		ask.Writable = &on
	default:
		return ask, errors.New("say active, inactive, writable or readonly")
	}
	return ask, nil
}
