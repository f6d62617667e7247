package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/content"
)

func blockCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "block",
		Usage: "[--reason <text>] [--hide] [--input <file>|-] [--json] <hash>... | --list",
		Short: "Takes content down: nobody gets it, and it is not taken in again",
		Long: `Blocks contents by their hashes, here at once and at the other nodes as soon as
they hear of it: purchases and statics are answered 403 (with --hide: 404, as if
nobody held it), copies in caches go, and uploads are refused. What is being
sent at this moment finishes. The clones stay on the disks; 'unblock' takes a
block back. The same bytes under another type of digest are another content.`,
	}, cobra.ArbitraryArgs, func(cmd *cobra.Command) action {
		flags := cmd.Flags()
		reason := flags.String("reason", "", "Why, for the list and the audit log; viewers are not told")
		hide := flags.Bool("hide", false, "Answer viewers 404, as if nobody held it")
		input := flags.String("input", "", "A file of hashes, one on a line; - is the standard input")
		list := flags.Bool("list", false, "List what is blocked")
		return func(ctx context.Context, sh *shell, args []string) error {
			if *list {
				if len(args) > 0 || *input != "" {
					return errors.New("--list lists all that is blocked: name no hashes")
				}
				return listBlocks(ctx, sh)
			}
			ask := adminapi.BlockRequest{Reason: *reason, Hidden: *hide}
			return changeBlocks(ctx, sh, "block", ask, *input, args)
		}
	})
}

func unblockCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "unblock",
		Usage: "[--reason <text>] [--input <file>|-] [--json] <hash>...",
		Short: "Takes blocks back: the content is given and taken again",
		Long: `Takes the blocks of contents back. What the stores still hold is given again,
with the purchases that still live.`,
	}, cobra.ArbitraryArgs, func(cmd *cobra.Command) action {
		reason := cmd.Flags().String("reason", "", "Why, for the audit log")
		input := cmd.Flags().String("input", "", "A file of hashes, one on a line; - is the standard input")
		return func(ctx context.Context, sh *shell, args []string) error {
			return changeBlocks(ctx, sh, "unblock", adminapi.BlockRequest{Reason: *reason}, *input, args)
		}
	})
}

// atOnce is how many contents one request names.
const atOnce = 1000

// changeBlocks blocks or unblocks what arguments and a file name.
func changeBlocks(ctx context.Context, sh *shell, verb string, ask adminapi.BlockRequest, input string, args []string) error {
	hashes, err := readHashes(sh.in, input, args)
	if err != nil {
		return err
	}
	all := adminapi.BlockAnswer{Hashes: []string{}}
	sh.bar.start(verb)
	for part := range slices.Chunk(hashes, atOnce) {
		ask.Hash = part
		var done adminapi.BlockAnswer
		if err := sh.node.streamLines(ctx, "/oose/"+verb, ask, nil, &done); err != nil {
			return fmt.Errorf("%sing: %w; %d of %d were done before", verb, err, len(all.Hashes)+len(all.Unchanged), len(hashes))
		}
		all.Hashes, all.Unchanged, all.Copies = append(all.Hashes, done.Hashes...), append(all.Unchanged, done.Unchanged...), done.Copies
		sh.bar.steps(float64(len(all.Hashes)+len(all.Unchanged))/float64(len(hashes)), fmt.Sprintf("%d of %d", len(all.Hashes), len(hashes)))
	}
	sh.bar.finish()
	if sh.json {
		err = sh.printJSON(all)
	} else {
		for _, h := range all.Hashes {
			sh.print("%sed  %s", verb, h)
		}
		if all.Copies > 0 {
			sh.print("known at %d %s already", all.Copies, plural(all.Copies, "node", "nodes"))
		}
	}
	if err == nil && len(all.Unchanged) > 0 {
		return fmt.Errorf("not blocked, as far as this node knows: %s", strings.Join(all.Unchanged, ", "))
	}
	return err
}

// readHashes gathers the hashes that arguments and the lines of a file name. A
// line may go on behind the hash, after a blank or a dot.
func readHashes(stdin io.Reader, input string, args []string) ([]string, error) {
	var texts []string
	if input != "" {
		r := stdin
		if input != "-" {
			f, err := os.Open(input)
			if err != nil {
				return nil, fmt.Errorf("reading the hashes: %w", err)
			}
			defer f.Close() //nolint:errcheck // it was only read
			r = f
		}
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			word, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
			if word != "" && !strings.HasPrefix(word, "#") {
				texts = append(texts, word)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("reading the hashes: %w", err)
		}
	}
	texts = append(texts, args...)
	if len(texts) == 0 {
		return nil, errors.New("no hash was given")
	}
	hashes := make([]string, 0, len(texts))
	for _, text := range texts {
		digits, _, _ := strings.Cut(text, ".")
		h, err := content.ParseHash(digits)
		if err != nil {
			return nil, fmt.Errorf("%.140q is not a hash: it has 32, 40, 56, 64, 96 or 128 hex digits", text)
		}
		hashes = append(hashes, h.String())
	}
	slices.Sort(hashes)
	return slices.Compact(hashes), nil
}

func listBlocks(ctx context.Context, sh *shell) error {
	var list adminapi.BlocksAnswer
	if err := sh.node.call(ctx, http.MethodGet, "/oose/blocks", nil, &list); err != nil {
		return err
	}
	if sh.json {
		return sh.printJSON(list)
	}
	rows := []string{"HASH\tSINCE\tBY\tANSWER\tREASON"}
	for _, b := range list.Blocks {
		answer := "403"
		if b.Hidden {
			answer = "404"
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", b.Hash, clock(b.At), orDash(clip(b.By, 32)), answer, orDash(clip(b.Reason, 80))))
	}
	return table(sh.out, rows...)
}
