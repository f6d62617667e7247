package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/record/export"
)

func exportCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "export",
		Usage: "[--output <file>|-] [--json]",
		Short: "Writes all records of the running node into a file: a backup, or to move them to another engine",
		Long: `Writes all records that the running node has, one a line (NDJSON), while the
node goes on: purchases with their uses, users, sessions, certificates, and
which store holds what. The contents of the stores are not in it.

An export that was interrupted is continued when the command is repeated with
the same --output. Its last line has a count and a sum, so that a file that is
cut off or damaged is noticed. It holds secrets: keep it as you keep the node's
own folder.`,
	}, cobra.NoArgs, func(cmd *cobra.Command) action {
		output := cmd.Flags().StringP("output", "o", "-", "The file to write, - for the standard output")
		return func(ctx context.Context, sh *shell, _ []string) error {
			if *output == "-" {
				return exportStream(ctx, sh)
			}
			return exportFile(ctx, sh, *output)
		}
	})
}

// exportStream writes an export to the standard output.
func exportStream(ctx context.Context, sh *shell) error {
	if newBar(sh.out) != nil {
		return errors.New("not writing secrets to a terminal: name a file with --output, or redirect the output")
	}
	buf := bufio.NewWriterSize(sh.out, 256<<10)
	if _, err := receive(ctx, sh, nil, buf); err != nil {
		return errors.Join(err, buf.Flush())
	}
	return buf.Flush()
}

// exportFile writes an export to a file, or continues the one that is there.
func exportFile(ctx context.Context, sh *shell, path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		info, failed := f.Stat()
		if closing := f.Close(); err == nil {
			err = closing
		}
		if err != nil && failed == nil && info.Size() == 0 {
			_ = os.Remove(path) // nothing came
		}
	}()
	buf := bufio.NewWriterSize(f, 256<<10)
	part, err := continued(f, buf, path)
	if err != nil {
		return err
	}
	before := uint64(0)
	if part != nil {
		before = part.Records
	}
	records, err := receive(ctx, sh, part, buf)
	if err = errors.Join(err, buf.Flush()); err != nil {
		return fmt.Errorf("%w (repeat the command to continue %s)", err, path)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if sh.json {
		return sh.printJSON(map[string]any{"file": path, "records": records, "continued": before, "bytes": info.Size()})
	}
	sh.print("%s: %s %s, %s", clip(path, 200), humanCount(int64(records)), plural(int(records), "record", "records"), humanSize(info.Size()))
	return nil
}

// continued prepares to go on with an export; nil where there is nothing of one yet.
func continued(f *os.File, w io.Writer, path string) (*export.Resumed, error) {
	part, err := export.Resume(f, w)
	switch {
	case errors.Is(err, export.ErrComplete):
		return nil, fmt.Errorf("%s is a complete export already: name another file", path)
	case errors.Is(err, export.ErrTruncated):
		// It may end within its first line, or be something else.
		begun := make([]byte, 16)
		n, err := f.ReadAt(begun, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if !strings.HasPrefix(`{"format":"oose-export"`, string(begun[:n])) {
			return nil, fmt.Errorf("%s is there and is no export: name another file", path)
		}
		if err := f.Truncate(0); err != nil {
			return nil, err
		}
		_, err = f.Seek(0, io.SeekStart)
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%s can't be continued, name another file: %w", path, err)
	}
	return part, nil
}

// receive gets the records behind those of part, or all where it is nil, and
// writes them behind them. It returns how many there are with those of before.
func receive(ctx context.Context, sh *shell, part *export.Resumed, w io.Writer) (uint64, error) {
	path := "/oose/export"
	if part != nil {
		position, err := json.Marshal(part.Position)
		if err != nil {
			return 0, err
		}
		path += "?position=" + url.QueryEscape(string(position))
	}
	r, err := sh.node.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, err
	}
	resp, err := sh.node.do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	from, err := export.NewReader(resp.Body)
	if err != nil {
		return 0, sh.node.explain(ctx, err)
	}
	var to *export.Writer
	switch {
	case part == nil:
		if to, err = export.NewWriter(w, from.Header()); err != nil {
			return 0, err
		}
	case part.Header.Source != from.Header().Source:
		return 0, errors.New("the file was begun with another node's records: name another file")
	default:
		to = part.Writer
	}
	total, _ := strconv.ParseInt(resp.Header.Get(adminapi.RecordsHeader), 10, 64)
	if err := copyRecords(sh, from, to, total); err != nil {
		return 0, sh.node.explain(ctx, err)
	}
	return to.Records(), nil
}

// copyRecords copies an export to its end, with a bar.
func copyRecords(sh *shell, from *export.Reader, to *export.Writer, total int64) error {
	sh.bar.start("export")
	defer sh.bar.finish()
	begun, before := time.Now(), to.Records()
	for {
		e, err := from.Next()
		if errors.Is(err, io.EOF) {
			return to.Close()
		}
		if err != nil {
			return err
		}
		if err := to.Write(e); err != nil {
			return err
		}
		if n := to.Records(); n%256 == 0 {
			sh.showRecords(int64(n), total, float64(n-before)/max(time.Since(begun).Seconds(), 0.001))
		}
	}
}

// showRecords shows how many records are through, and how many a second.
func (sh *shell) showRecords(done, total int64, rate float64) {
	part := -1.0
	if total > 0 {
		part = float64(done) / float64(max(total, done))
	}
	sh.bar.steps(part, fmt.Sprintf("%s records, %s/s", humanCount(done), humanCount(int64(rate))))
}
