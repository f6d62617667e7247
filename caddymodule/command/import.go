package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/record/export"
)

func importCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "import",
		Usage: "[--input <file>|-] [--incomplete] [--json]",
		Short: "Takes the records of an export into the running node",
		Long: `Takes the records that 'export' has written into the running node, whichever
engine it has. What the node has in the same or a later version is left as it
is, so the command may be repeated, also after it was interrupted. What is
newer in the file wins, as it would between two nodes.

A file is checked before anything is sent; one that is cut off is refused unless
--incomplete takes it as far as it goes. From the standard input the records are
taken as they come, and damage shows at the end.`,
	}, cobra.NoArgs, func(cmd *cobra.Command) action {
		input := cmd.Flags().StringP("input", "i", "-", "The file to read, - for the standard input")
		incomplete := cmd.Flags().Bool("incomplete", false, "Take also an export that has no end")
		return func(ctx context.Context, sh *shell, _ []string) error {
			if *input == "-" {
				if f, ok := sh.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
					return errors.New("nothing is there to read: name a file with --input, or redirect the input")
				}
			}
			return importFrom(ctx, sh, *input, *incomplete)
		}
	})
}

func importFrom(ctx context.Context, sh *shell, path string, incomplete bool) error {
	body, size, err := openInput(sh, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if f, ok := body.(*os.File); ok && size >= 0 {
		if err := checkExport(ctx, sh, f, size, incomplete); err != nil {
			return fmt.Errorf("checking %s: %w", clip(path, 200), err)
		}
	}
	target := "/oose/import"
	if incomplete {
		target += "?incomplete"
	}
	sh.bar.start("import")
	defer sh.bar.finish()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, sh.node.base+target, &countingReader{r: body, total: size, bar: sh.bar})
	if err != nil {
		return err
	}
	r.ContentLength = size
	r.Header.Set("Content-Type", "application/x-ndjson")
	r.Header.Set("Expect", "100-continue")
	var answer adminapi.ImportAnswer
	if err := sh.node.callRequest(r, &answer); err != nil {
		return err
	}
	sh.bar.finish()
	return printImported(sh, answer)
}

// checkExport reads an export to its end and goes back to its beginning.
func checkExport(ctx context.Context, sh *shell, f *os.File, size int64, incomplete bool) error {
	sh.bar.start("check")
	defer sh.bar.finish()
	from, err := export.NewReader(&countingReader{r: f, total: size, bar: sh.bar})
	for err == nil {
		if err = ctx.Err(); err == nil {
			_, err = from.Next()
		}
	}
	switch {
	case errors.Is(err, export.ErrTruncated) && from != nil && !incomplete:
		return fmt.Errorf("%w; repeat the export to continue it, or take what is there with --incomplete", err)
	case errors.Is(err, export.ErrTruncated) && from != nil, errors.Is(err, io.EOF):
		_, err = f.Seek(0, io.SeekStart)
	}
	return err
}

func printImported(sh *shell, a adminapi.ImportAnswer) error {
	if sh.json {
		if err := sh.printJSON(a); err != nil {
			return err
		}
	} else {
		sh.print("%s %s, %s taken", humanCount(int64(a.Records)), plural(int(a.Records), "record", "records"), humanCount(int64(a.Taken)))
		for _, row := range []struct {
			n    uint64
			text string
		}{
			{a.Left, "not newer than what is here, left out"},
			{a.Expired, "over, left out"},
		} {
			if row.n > 0 {
				sh.print("%7s %s", humanCount(int64(row.n)), row.text)
			}
		}
	}
	if a.Ahead > 0 {
		return fmt.Errorf("%s %s left out that this database wrote after the state it is in: it is an older copy of itself. "+
			"Stop the node, move the folder of its records away, start it, and import again",
			humanCount(int64(a.Ahead)), plural(int(a.Ahead), "record was", "records were"))
	}
	return nil
}
