package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/handlers/clonetool"
)

// clonesFlags are the flags of `clones` that are no field of its request.
type clonesFlags struct {
	above, at, below    int
	input, protect      string
	protectHash, stores []string
}

func clonesCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "clones",
		Usage: "[<selection>] [<action>] [--pretend] [--force] [--json] [<hash>...] | repair [--now]",
		Short: "Counts, makes, drops and verifies clones; tells and hastens repair",
		Long: `Picks contents, and does something about the clones of each.

Selection (what fits all of it): --above N, --at N, --below N clones that count,
<hash>... or --input FILE|-, --store STORE, --prism PRISM, --folder AB[/CD], --all.
Clones count on stores that are well, and on those that are away and expected back.

Action: --desired N makes or drops clones until there are N, and writes down that
there are to be N where the settings say otherwise; --clone-to STORE, --drop-from
STORE (both: moves), --verify. A clone is dropped only after as many others as are
wanted have promised to stay; --force lowers what is wanted, but the last good
clone stays. --protect and --protect-store keep contents and stores from drops.

Without an action the contents are listed, with --detail all that is recorded of
their clones; without anything all contents are counted by their clones.

'clones repair' tells what this node repairs, and 'clones repair --now' takes the
stores that are away for lost, without waiting for repair { after }.`,
	}, cobra.ArbitraryArgs, func(cmd *cobra.Command) action {
		var ask adminapi.ClonesRequest
		var f clonesFlags
		flags := cmd.Flags()
		flags.BoolVar(&ask.All, "all", false, "All contents")
		flags.IntVar(&f.above, "above", -1, "Those with more than so many clones")
		flags.IntVar(&f.at, "at", -1, "Those with exactly so many clones")
		flags.IntVar(&f.below, "below", -1, "Those with fewer than so many clones")
		flags.StringVar(&f.input, "input", "", "Those whose hashes are in a file, one on a line; - is the standard input")
		flags.StringVar(&ask.Store, "store", "", "Those that have a clone in this store")
		flags.StringVar(&ask.Prism, "prism", "", "Those that have a clone in a store of this prism")
		flags.StringVar(&ask.Folder, "folder", "", "Those whose hash begins so: ab, or ab/cd")
		flags.IntVar(&ask.Desired, "desired", 0, "Have so many clones")
		flags.StringVar(&ask.CloneTo, "clone-to", "", "Have a clone in this store")
		flags.StringVar(&ask.DropFrom, "drop-from", "", "Have no clone in this store")
		flags.BoolVar(&ask.Verify, "verify", false, "Read the clones that were not verified lately (with --force: all) and compare them with their hash")
		flags.BoolVar(&ask.Detail, "detail", false, "Tell all that is recorded of the clones")
		flags.BoolVar(&ask.Pretend, "pretend", false, "Only tell what would be done")
		flags.BoolVar(&ask.Force, "force", false, "Also fewer clones than are wanted; verify: also what was verified lately")
		flags.IntVar(&ask.Parallel, "parallel", 0, "How many contents are worked on at the same time (default 4)")
		flags.StringVar(&f.protect, "protect", "", "A file of hashes of which nothing is dropped")
		flags.StringSliceVar(&f.protectHash, "protect-hash", nil, "A hash of which nothing is dropped; may be given several times")
		flags.StringSliceVar(&f.stores, "protect-store", nil, "A store from which nothing is dropped; may be given several times")
		flags.BoolVar(&ask.Repair, "repair", false, "Tell what this node repairs")
		flags.BoolVar(&ask.Now, "now", false, "With repair: take the stores that are away for lost at once")
		return func(ctx context.Context, sh *shell, args []string) error {
			return doClones(ctx, sh, &ask, &f, args)
		}
	})
}

// doClones does what the flags and arguments say.
func doClones(ctx context.Context, sh *shell, ask *adminapi.ClonesRequest, f *clonesFlags, args []string) error {
	if ask.Repair || len(args) == 1 && args[0] == "repair" {
		return tellRepair(ctx, sh, *ask)
	}
	if err := f.into(sh, ask, args); err != nil {
		return err
	}
	return runClones(ctx, sh, ask)
}

// into completes a request with what is no field of it.
func (f *clonesFlags) into(sh *shell, ask *adminapi.ClonesRequest, args []string) (err error) {
	for value, to := range map[*int]**int{&f.above: &ask.Above, &f.at: &ask.At, &f.below: &ask.Below} {
		if *value >= 0 {
			*to = value
		}
	}
	if len(args) > 0 || f.input != "" {
		if ask.Hash, err = readHashes(sh.in, f.input, args); err != nil {
			return err
		}
	}
	if f.protect == "-" && f.input == "-" {
		return errors.New("the standard input is read once: --input and --protect can't both be -")
	}
	if f.protect != "" || len(f.protectHash) > 0 {
		if ask.Protect, err = readHashes(sh.in, f.protect, f.protectHash); err != nil {
			return err
		}
	}
	ask.ProtectStores = f.stores
	return nil
}

// runClones has the node do it, shows how far it is, and tells what came of it.
func runClones(ctx context.Context, sh *shell, ask *adminapi.ClonesRequest) error {
	acts := ask.Desired > 0 || ask.CloneTo != "" || ask.DropFrom != "" || ask.Verify
	sh.bar.start("clones")
	begun := time.Now()
	var sum clonetool.Summary
	err := sh.node.streamLines(ctx, "/oose/clones", ask, func(line adminapi.StreamLine) {
		switch {
		case line.Clones != nil:
			sh.showClones(*line.Clones, time.Since(begun))
		case line.Content != nil && sh.json:
			if err := sh.printJSON(line.Content); err != nil {
				sh.node.warn(err.Error())
			}
		case line.Content != nil:
			sh.bar.wipe()
			printContent(sh, line.Content, ask, acts)
		}
	}, &sum)
	sh.bar.finish()
	if err != nil {
		return err
	}
	if sh.json {
		err = sh.printJSON(sum)
	} else {
		err = printSummary(sh, &sum, acts)
	}
	switch {
	case err != nil:
		return err
	case sum.Damaged > 0:
		return fmt.Errorf("%w: %d %s not sound", errDamaged, sum.Damaged, plural(int(sum.Damaged), "clone is", "clones are"))
	case sum.Failed > 0:
		return fmt.Errorf("%d %s; the same command tries again", sum.Failed, plural(int(sum.Failed), "thing failed", "things failed"))
	}
	return nil
}

// showClones draws the bar.
func (sh *shell) showClones(p clonetool.Progress, elapsed time.Duration) {
	if p.Counting {
		sh.bar.steps(-1, fmt.Sprintf("looking, %s contents so far", humanCount(p.Total)))
		return
	}
	part := -1.0
	text := humanCount(p.Done) + " contents"
	if p.Total > 0 {
		part = float64(p.Done) / float64(p.Total)
		text = fmt.Sprintf("%s of %s", humanCount(p.Done), humanCount(p.Total))
	}
	for _, n := range []struct {
		n    int64
		word string
	}{{p.Copied, "copied"}, {p.Dropped, "dropped"}, {p.Verified, "verified"}, {p.Failed, "failed"}} {
		if n.n > 0 {
			text += fmt.Sprintf(", %s %s", humanCount(n.n), n.word)
		}
	}
	if p.Moved > 0 {
		text += ", " + humanSize(int64(float64(p.Moved)/max(elapsed.Seconds(), 0.001))) + "/s"
	}
	if p.Done > 0 && p.Done < p.Total {
		left := time.Duration(float64(elapsed) / float64(p.Done) * float64(p.Total-p.Done))
		text += ", " + max(left, time.Second).Round(time.Second).String() + " left"
	}
	sh.bar.steps(part, text)
}

// printContent tells one content and what was done about it.
func printContent(sh *shell, c *adminapi.ContentLine, ask *adminapi.ClonesRequest, acts bool) {
	blocked := ""
	if c.Blocked {
		blocked = "  blocked"
	}
	var stores []string
	for _, clone := range c.Clones {
		name := clone.Store
		if clone.Standing != "good" {
			name += " (" + clone.Standing + ")"
		}
		stores = append(stores, name)
	}
	if !acts || ask.Pretend || ask.Detail {
		sh.print("%s  %d of %d  %9s%s  %s", c.Hash, c.Count, c.Wanted, humanSize(c.Size), blocked, strings.Join(stores, " "))
	}
	if ask.Detail {
		for _, clone := range c.Clones {
			text := fmt.Sprintf("  %s  %s  .%s  %s  stored %s  verified %s", clone.Store, clone.Standing, clip(clone.Ext, 16), humanSize(clone.Size), clock(clone.Stored), clock(clone.Verified))
			if clone.Promised > time.Now().UnixMilli() {
				text += "  promised until " + clock(clone.Promised)
			}
			if clone.Deep {
				text += "  in the layout of OOSE 2.x"
			}
			sh.print("%s  id %s", text, clone.ID)
		}
	}
	would := ""
	if ask.Pretend {
		would = "would be "
	}
	for _, s := range c.Steps {
		store := s.Store
		if s.Did == clonetool.Wanted {
			store = fmt.Sprintf("in %d clones", c.Wanted)
		}
		line := strings.TrimSpace(fmt.Sprintf("%s%s %s", would, s.Did, store))
		if s.Error != "" {
			line += ": " + clip(s.Error, 300)
		}
		if s.Did == clonetool.Failed || s.Did == clonetool.Damaged {
			fmt.Fprintf(sh.err, "%s  %s\n", c.Hash, line)
		} else {
			sh.print("%s  %s", c.Hash, line)
		}
	}
}

// printSummary adds up what was done, or counts contents by their clones.
func printSummary(sh *shell, s *clonetool.Summary, acts bool) error {
	if !acts {
		rows := []string{"CLONES\tCONTENTS"}
		for _, n := range slices.Sorted(maps.Keys(s.ByCount)) {
			rows = append(rows, fmt.Sprintf("%d\t%s", n, humanCount(s.ByCount[n])))
		}
		rows = append(rows, fmt.Sprintf("all\t%s, %s in one clone each", humanCount(s.Contents), humanSize(s.Bytes)))
		return table(sh.out, rows...)
	}
	if s.Pretend {
		sh.print("nothing was done; it would be:")
	}
	rows := []string{fmt.Sprintf("contents\t%s\t%s", humanCount(s.Contents), humanSize(s.Bytes))}
	for _, row := range []struct {
		n    int64
		word string
		more string
	}{
		{s.Copied, "clones copied", humanSize(s.Moved)},
		{s.Dropped, "clones dropped", ""},
		{s.Verified, "clones verified", humanSize(s.Read)},
		{s.Skipped, "clones skipped", "verified lately"},
		{s.Damaged, "clones damaged", "now in quarantine"},
		{s.Kept, "clones kept", "they are needed, promised or protected"},
		{s.Blocked, "contents blocked", "not copied"},
		{s.Failed, "failed", ""},
	} {
		if row.n > 0 {
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s", row.word, humanCount(row.n), row.more))
		}
	}
	return table(sh.out, rows...)
}

// tellRepair tells what the node repairs.
func tellRepair(ctx context.Context, sh *shell, ask adminapi.ClonesRequest) error {
	var now adminapi.RepairAnswer
	err := sh.node.streamLines(ctx, "/oose/clones", adminapi.ClonesRequest{Repair: true, Now: ask.Now}, nil, &now)
	if err != nil {
		return err
	}
	if sh.json {
		return sh.printJSON(now)
	}
	if ask.Now {
		if len(now.GivenUp) == 0 {
			sh.print("no store is away: there is nothing to be taken for lost")
		}
		for _, store := range now.GivenUp {
			sh.print("%s is taken for lost: its clones are made anew", store)
		}
	}
	rows := []string{
		fmt.Sprintf("missing\t%s clones to be made by this node, %s of them urgent", humanCount(now.Missing), humanCount(now.Urgent)),
		fmt.Sprintf("waiting\t%s contents that other nodes are to repair", humanCount(now.Waiting)),
		fmt.Sprintf("surplus\t%s clones that are not needed", humanCount(now.Surplus)),
		fmt.Sprintf("copying\t%d now, %s/s", len(now.Copying), humanSize(now.Rate)),
		fmt.Sprintf("done\t%s copied (%s), %s dropped since the start", humanCount(now.Copied), humanSize(now.Bytes), humanCount(now.Dropped)),
		fmt.Sprintf("looked at\t%s clones, %s", humanCount(now.Clones), clock(now.WalkedAt)),
	}
	if now.Held > 0 {
		rows = append(rows, fmt.Sprintf("HELD\t%d stores are away, too many at once to be taken for lost; if they won't come back: clones repair --now", now.Held))
	}
	if now.LastError != "" {
		rows = append(rows, fmt.Sprintf("last error\t%s, %s", clip(now.LastError, 300), clock(now.ErrorAt)))
	}
	return table(sh.out, rows...)
}
