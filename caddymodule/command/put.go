package command

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/caddymodule/adminapi"
)

func putCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "put",
		Usage: "[--name <name>] [--life <duration>] [--hash <type>] [--json] <file...>|-",
		Short: "Puts files into the stores and prints their hashes and purchase URLs",
		Long: `Uploads files to the running node, each to as many stores as the configuration
wants copies, and makes a purchase of each. Prints the hash, by which the
content is known from then on, and the purchase URL, at which it can be
fetched until the purchase expires.

A file named - is the standard input; give it a --name.`,
	}, cobra.MinimumNArgs(1), func(cmd *cobra.Command) action {
		name := cmd.Flags().String("name", "", "The name in the URL, whose extension tells the type of the content (default: the file's)")
		life := cmd.Flags().String("life", "", "How long the purchase lives: 90s, 2h, 7d (default: as configured)")
		kind := cmd.Flags().String("hash", "", "The digest to keep the content by: md5, sha1, sha224, sha256, sha384 or sha512 (default: as configured)")
		return func(ctx context.Context, sh *shell, args []string) error {
			if *name != "" && len(args) > 1 {
				return fmt.Errorf("--name is for one file, there are %d", len(args))
			}
			query, err := putQuery(*life, *kind)
			if err != nil {
				return err
			}
			for i, path := range args {
				if err := putFile(ctx, sh, path, *name, query, len(args) > 1 && i > 0); err != nil {
					return fmt.Errorf("putting %s: %w", clip(path, 200), err)
				}
			}
			return nil
		}
	})
}

func putQuery(life, kind string) (url.Values, error) {
	query := url.Values{}
	if life != "" {
		ms, err := parseLife(life)
		if err != nil {
			return nil, err
		}
		query.Set("life", strconv.FormatInt(ms, 10))
	}
	if kind != "" {
		query.Set("hash", kind)
	}
	return query, nil
}

// parseLife reads a duration with Caddy's units and returns milliseconds.
func parseLife(text string) (int64, error) {
	d, err := caddy.ParseDuration(text)
	if err != nil || d < time.Millisecond {
		return 0, fmt.Errorf("reading the life %q: use a duration above 0, as 90s, 2h or 7d", text)
	}
	return d.Milliseconds(), nil
}

func putFile(ctx context.Context, sh *shell, path, name string, query url.Values, further bool) error {
	body, size, err := openInput(sh, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if name == "" && path != "-" {
		name = filepath.Base(path)
	}
	query.Set("name", name)
	sh.bar.start(name)
	defer sh.bar.finish()
	counted := &countingReader{r: body, total: size, bar: sh.bar}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, sh.node.base+"/oose/put?"+query.Encode(), counted)
	if err != nil {
		return err
	}
	r.ContentLength = size
	if size == 0 {
		r.Body = http.NoBody
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Expect", "100-continue") // so that a refusal costs no upload
	var answer adminapi.PutAnswer
	if err := sh.node.callRequest(r, &answer); err != nil {
		return err
	}
	sh.bar.finish()
	if sh.json {
		return sh.printJSON(struct {
			File string `json:"file"`
			adminapi.PutAnswer
		}{path, answer})
	}
	if further {
		sh.print("")
	}
	sh.print("file   %s (%s)", clip(name, 200), humanSize(answer.Size))
	sh.print("hash   %s", answer.Hash)
	sh.print("url    %s", answer.URL)
	sh.print("until  %s, in %d %s", clock(answer.Expires), answer.Durability, plural(answer.Durability, "clone", "clones"))
	return nil
}

// openInput opens what a command is to read, and tells its size, -1 where
// that is not known.
func openInput(sh *shell, path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(sh.in), -1, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	if info.IsDir() {
		f.Close()
		return nil, 0, fmt.Errorf("it is a folder; name the files in it")
	}
	if !info.Mode().IsRegular() {
		return f, -1, nil // a pipe, a device
	}
	return f, info.Size(), nil
}

// countingReader shows on a bar what was read through it.
type countingReader struct {
	r           io.Reader
	done, total int64
	bar         *bar
	err         error // what reading ended with, but for io.EOF
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done += int64(n)
	c.bar.bytes(c.done, c.total)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}
