package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

func inventoryCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "inventory",
		Usage: "[--json] <store>",
		Short: "Lists what a store holds, as recorded",
		Long: `Lists the clones that a store holds: hash and extension, size, when it was
stored, and when it was last verified.`,
	}, cobra.ExactArgs(1), func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, args []string) error {
			r, err := sh.node.request(ctx, http.MethodGet, "/oose/inventory/"+url.PathEscape(args[0]), nil)
			if err != nil {
				return err
			}
			resp, err := sh.node.do(r)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if sh.json {
				_, err := io.Copy(sh.out, resp.Body)
				return err
			}
			return printClones(sh, resp.Body)
		}
	})
}

// printClones writes a listing as it comes, however long it is.
func printClones(sh *shell, r io.Reader) error {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.New("reading the answer: it is no list")
	}
	var total inventory.Totals
	for d.More() {
		var c adminapi.InventoryLine
		if err := d.Decode(&c); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		total.Clones++
		total.Bytes += c.Size
		sh.print("%s.%s  %9s  stored %s  verified %s", c.Hash, clip(c.Ext, 16), humanSize(c.Size), clock(c.Stored), clock(c.Verified))
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("reading the answer: it broke off: %w", err)
	}
	sh.print("%s %s, %s", humanCount(total.Clones), plural(int(total.Clones), "clone", "clones"), humanSize(total.Bytes))
	return nil
}

func scanCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "scan",
		Usage: "[--trust] [--json] <store>",
		Short: "Compares a store's disk with what is recorded about it, and repairs the records",
		Long: `Reads the folders of a store: files that appeared are hashed and recorded,
records whose files vanished are taken back, files that changed are hashed
again, and those that are not what their name says go to quarantine.`,
	}, cobra.ExactArgs(1), func(cmd *cobra.Command) action {
		trust := cmd.Flags().Bool("trust", false, "Record files that appeared at once, on your word, and hash them afterwards")
		return func(ctx context.Context, sh *shell, args []string) error {
			sh.bar.start("scan " + args[0])
			var found adminapi.ScanAnswer
			err := sh.node.stream(ctx, "/oose/scan", adminapi.StoreRequest{Store: args[0], Trust: *trust}, sh.showScan, &found)
			sh.bar.finish()
			if err != nil {
				return err
			}
			if sh.json {
				err = sh.printJSON(found)
			} else {
				printScan(sh, found)
			}
			if err == nil && found.Failed > 0 {
				return fmt.Errorf("%w: %d %s not what the name says", errDamaged, found.Failed, plural(int(found.Failed), "file is", "files are"))
			}
			return err
		}
	})
}

func (sh *shell) showScan(p adminapi.ProgressLine) {
	text := fmt.Sprintf("%s files, %s hashed (%s)", humanCount(p.Files), humanCount(p.Hashed), humanSize(p.Bytes))
	part := float64(p.Folders) / 256
	if p.Total > 0 {
		part = float64(p.Files) / float64(p.Total)
	}
	sh.bar.steps(part, text)
}

func printScan(sh *shell, r adminapi.ScanAnswer) {
	sh.print("%s: %s files, %s", r.Store, humanCount(r.Files), humanSize(r.Bytes))
	for _, row := range []struct {
		n    int64
		text string
	}{
		{r.Appeared, "appeared, recorded"},
		{r.Vanished, "vanished, records taken back"},
		{r.Changed, "changed on disk, found sound"},
		{r.Failed, "are not what their name says, now in quarantine"},
		{r.Dropped, "had been removed, dropped"},
		{r.Duplicates, "are there twice, left alone"},
		{r.Foreign, "do not belong here, left alone"},
		{r.Errors, "could not be read, left alone"},
	} {
		if row.n > 0 {
			sh.print("%7s %s", humanCount(row.n), row.text)
		}
	}
}

func verifyCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "verify",
		Usage: "[--force] [--json] [<store>|<hash>]",
		Short: "Reads clones again and compares them with their hashes",
		Long: `Verifies the clones of one store, of one content in every store, or all of this
node. A clone that fails goes to quarantine and is never served again. Clones
that were verified recently (scrub { every }) are skipped unless --force.`,
	}, cobra.MaximumNArgs(1), func(cmd *cobra.Command) action {
		force := cmd.Flags().Bool("force", false, "Verify also what was verified recently")
		return func(ctx context.Context, sh *shell, args []string) error {
			ask := adminapi.VerifyRequest{Force: *force}
			label := "verify"
			if len(args) > 0 {
				if h, err := content.ParseHash(args[0]); err == nil {
					ask.Hash = h.String()
				} else {
					ask.Store = args[0]
				}
				label += " " + args[0]
			}
			sh.bar.start(label)
			var found adminapi.VerifyAnswer
			err := sh.node.stream(ctx, "/oose/verify", ask, sh.showScan, &found)
			sh.bar.finish()
			if err != nil {
				return err
			}
			return printVerified(sh, found)
		}
	})
}

func printVerified(sh *shell, found adminapi.VerifyAnswer) error {
	if sh.json {
		if err := sh.printJSON(found); err != nil {
			return err
		}
	} else {
		rows := []string{"STORE\tVERIFIED\tREAD\tSKIPPED\tFAILED\tMISSING\tUNREADABLE"}
		for _, s := range found.Stores {
			rows = append(rows, fmt.Sprintf("%s\t%d\t%s\t%d\t%d\t%d\t%d", s.Store, s.Verified, humanSize(s.Bytes), s.Skipped, s.Failed, s.Missing, s.Errors))
		}
		if err := table(sh.out, rows...); err != nil {
			return err
		}
		for _, s := range found.Stores {
			for _, h := range s.Hashes {
				sh.print("%s: %s failed or is missing", s.Store, h)
			}
		}
	}
	if found.Failed > 0 {
		return fmt.Errorf("%w: %d %s not sound", errDamaged, found.Failed, plural(int(found.Failed), "clone is", "clones are"))
	}
	return nil
}

func adoptCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "adopt",
		Usage: "[--json] <store>",
		Short: "Takes a store's root as it is: a new medium under an old name, or one whose marker is gone",
		Long: `A known store whose root has no marker, or another store's, stays offline,
because a disk may not be mounted or two may be swapped. When you know that the
root is right as it is, adopt it: it gets a marker, and is scanned.`,
	}, cobra.ExactArgs(1), func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, args []string) error {
			sh.bar.start("adopt " + args[0])
			var now adminapi.AdoptAnswer
			err := sh.node.stream(ctx, "/oose/adopt", adminapi.StoreRequest{Store: args[0]}, sh.showScan, &now)
			sh.bar.finish()
			if err != nil {
				return err
			}
			if sh.json {
				return sh.printJSON(now)
			}
			sh.print("%s is %s, id %s", now.Store, now.State, now.ID)
			return nil
		}
	})
}
