package command

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/node"
)

// followEvery is how often a node is asked for what is new.
const followEvery = time.Second

func auditCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "audit",
		Usage: "[--since <time>|<duration>] [--follow] [--json]",
		Short: "Tells who changed what through this node",
		Long: `Prints the audit log of this node: purchases, contents and clones that were
removed, what was blocked, stores that were drained, users that were changed,
records that were imported; with the time, who did it and from where. Each node
writes down what was done through it: ask all of them for the whole picture.`,
	}, cobra.NoArgs, func(cmd *cobra.Command) action {
		since := cmd.Flags().String("since", "", "Only what is not older: 24h, 7d, 2026-11-20 or 2026-11-20T12:00:00Z (default: all)")
		follow := cmd.Flags().Bool("follow", false, "Go on with what comes, until interrupted")
		return func(ctx context.Context, sh *shell, _ []string) error {
			query := url.Values{}
			if *since != "" {
				at, err := parseSince(*since, time.Now())
				if err != nil {
					return err
				}
				query.Set("since", strconv.FormatInt(at.UnixMilli(), 10))
			}
			last, err := printAudit(ctx, sh, query)
			if err != nil || !*follow {
				return err
			}
			ticker := time.NewTicker(followEvery)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-ticker.C:
				}
				if !last.IsZero() {
					query = url.Values{"after": {last.Format(time.RFC3339Nano)}}
				}
				now, err := printAudit(ctx, sh, query)
				if err != nil {
					return err
				}
				if now.After(last) {
					last = now
				}
			}
		}
	})
}

// parseSince reads a moment, or how long ago it was.
func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := node.ParseDuration(text); err == nil {
		return now.Add(-d.Std()), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q: use a time as 2026-11-20T12:00:00Z, a day as 2026-11-20, or a duration as 24h or 7d", text)
}

// printAudit prints the entries of a query and returns the time of the last one.
func printAudit(ctx context.Context, sh *shell, query url.Values) (last time.Time, err error) {
	r, err := sh.node.request(ctx, http.MethodGet, "/oose/audit?"+query.Encode(), nil)
	if err != nil {
		return last, err
	}
	resp, err := sh.node.do(r)
	if err != nil {
		return last, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e audit.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return last, fmt.Errorf("reading the answer: %w", err)
		}
		last = e.Time
		if sh.json {
			sh.print("%s", lines.Text())
		} else {
			sh.print("%s  %-15s  %s", e.Time.Local().Format("2006-01-02 15:04:05.000 -0700"), e.Action, auditText(e))
		}
	}
	if err := lines.Err(); err != nil {
		return last, sh.node.explain(ctx, err)
	}
	return last, nil
}

// auditText tells an entry in words: what it is about, and who did it.
func auditText(e audit.Entry) string {
	parts := []string{}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, strings.TrimSpace(name+" "+clip(value, 160)))
		}
	}
	add("", e.Token)
	add("", e.Hash)
	add("user", e.User)
	add("", e.Store)
	if e.Count > 0 {
		add("", "("+humanCount(e.Count)+")")
	}
	add("", e.Detail)
	if e.Reason != "" {
		add("reason:", e.Reason)
	}
	add("FAILED:", e.Error)
	by := e.Actor.String()
	if e.Who != "" && e.System != "" {
		by += " (" + e.System + ")"
	}
	add("by", by)
	add("from", e.From)
	add("at", e.Node)
	return strings.Join(parts, "  ")
}
