package command

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

func getCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "get",
		Usage: "<hash> [<file>|-]",
		Short: "Fetches the content of a hash, into a file or to the standard output",
		Long: `Fetches content from the running node and checks it against its hash. Without
a file, or with -, it goes to the standard output.

While a file is being fetched it is called <file>.<first digits of the
hash>.part. One that was left by an interrupted command is continued.`,
	}, cobra.RangeArgs(1, 2), func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, args []string) error {
			h, err := content.ParseHash(strings.ToLower(args[0]))
			if err != nil {
				return err
			}
			if len(args) < 2 || args[1] == "-" {
				return getStream(ctx, sh, h)
			}
			return getFile(ctx, sh, h, args[1])
		}
	})
}

// getStream writes a content to the standard output. What was written can't be
// taken back, so damage shows in the exit status alone.
func getStream(ctx context.Context, sh *shell, h content.Hash) error {
	if newBar(sh.out) != nil {
		return errors.New("not writing content to a terminal: name a file, or redirect the output")
	}
	sum := inventory.NewHash(h.Type())
	if _, err := fetch(ctx, sh, h, 0, sum, sh.out); err != nil {
		return err
	}
	return checkSum(h, sum)
}

// getFile writes a content to a file, by way of a partial file that a
// later command can continue.
func getFile(ctx context.Context, sh *shell, h content.Hash, path string) error {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists already: remove it, or name another file", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	part := path + "." + h.String()[:12] + ".part"
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := inventory.NewHash(h.Type())
	have, err := io.Copy(sum, f)
	if err != nil {
		return fmt.Errorf("reading what was fetched before: %w", err)
	}
	total, err := fetch(ctx, sh, h, have, sum, f)
	if err != nil {
		return err
	}
	if err := checkSum(h, sum); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	if sh.json {
		return sh.printJSON(map[string]any{"hash": h, "file": path, "size": total})
	}
	sh.print("%s (%s)", clip(path, 200), humanSize(total))
	return nil
}

// fetch copies a content, from byte have on, to sum and to w, and returns its
// whole size.
func fetch(ctx context.Context, sh *shell, h content.Hash, have int64, sum hash.Hash, w io.Writer) (int64, error) {
	r, err := sh.node.request(ctx, http.MethodGet, "/oose/content/"+h.String(), nil)
	if err != nil {
		return 0, err
	}
	if have > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := sh.node.do(r)
	var refused *adminError
	if errors.As(err, &refused) && refused.Status == http.StatusRequestedRangeNotSatisfiable {
		return have, nil // all of it is here: the sum decides
	}
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if have > 0 && resp.StatusCode != http.StatusPartialContent {
		return 0, errors.New("the server can't continue what was fetched before: remove the .part file")
	}
	sh.bar.start(h.String()[:12])
	defer sh.bar.finish()
	body := &countingReader{r: resp.Body, total: resp.ContentLength, bar: sh.bar}
	n, err := io.Copy(io.MultiWriter(w, sum), body)
	if err != nil && body.err != nil {
		return 0, sh.node.explain(ctx, err)
	}
	if err != nil {
		return 0, err
	}
	return have + n, nil
}

// checkSum compares what was fetched with its hash.
func checkSum(h content.Hash, sum hash.Hash) error {
	got, err := inventory.SumOf(h.Type(), sum)
	if err != nil {
		return err
	}
	if got != h {
		return fmt.Errorf("%w: what arrived has the hash %s", errDamaged, got)
	}
	return nil
}
