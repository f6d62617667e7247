package command

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/handlers/demand"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/node"
)

func statusCommand() caddycmd.Command {
	return nodeCommand(caddycmd.Command{
		Name:  "status",
		Usage: "[--json]",
		Short: "Tells how the running node and its stores are",
		Long: `Tells how the running node is, the state, space and content of its stores, and
what is not as it should be: "problems" in JSON, an empty list when all is well
as far as this node can tell. Where there is a problem the exit status is 5.`,
	}, cobra.NoArgs, func(*cobra.Command) action {
		return func(ctx context.Context, sh *shell, _ []string) error {
			var now adminapi.StatusAnswer
			if err := sh.node.call(ctx, http.MethodGet, "/oose/status", nil, &now); err != nil {
				return err
			}
			tell := printStatus
			if sh.json {
				tell = func(sh *shell, now *adminapi.StatusAnswer) error { return sh.printJSON(now) }
			}
			if err := tell(sh, &now); err != nil {
				return err
			}
			if n := len(now.Problems); n > 0 {
				return fmt.Errorf("%w: %d %s, see above", errProblems, n, plural(n, "problem", "problems"))
			}
			return nil
		}
	})
}

func printStatus(sh *shell, s *adminapi.StatusAnswer) error {
	place := s.Name
	if s.Domain != "" {
		place += "." + s.Domain
	}
	for _, part := range [][2]string{{"site", s.Site}, {"group", s.Group}} {
		if part[1] != "" {
			place += ", " + part[0] + " " + part[1]
		}
	}
	up := time.Since(time.UnixMilli(s.Started)).Round(time.Second)
	rows := []string{
		"node\t" + place,
		fmt.Sprintf("version\tOOSE %s, Caddy %s", s.Version, s.Caddy),
		fmt.Sprintf("since\t%s (%s)", clock(s.Started), up),
		"url\t" + orNone(s.URL),
		"prisms\t" + orNone(strings.Join(s.Prisms, " ")),
		"data\t" + dataText(s),
		fmt.Sprintf("running\t%d %s", s.Requests, plural(int(s.Requests), "request", "requests")),
	}
	if s.Configurations > 1 {
		rows = append(rows, fmt.Sprintf("reloaded\t%d former configurations have requests running", s.Configurations-1))
	}
	if s.Journal != nil {
		rows = append(rows, "records\t"+recordsText(s))
	}
	if text := demandText(s.Demand); text != "" {
		rows = append(rows, "demand\t"+text)
	}
	if len(s.Problems) == 0 {
		rows = append(rows, "problems\tnone")
	}
	for _, p := range s.Problems {
		rows = append(rows, "PROBLEM\t"+problemText(p))
	}
	if err := table(sh.out, rows...); err != nil {
		return err
	}
	sh.print("")
	if len(s.Stores) == 0 {
		sh.print("There is no store: add one to the configuration, `store <name> <folder>`.")
		return nil
	}
	return table(sh.out, storeRows(s.Stores)...)
}

// demandText tells of the copies on demand, "" where there is nothing to tell.
func demandText(d *demand.Status) string {
	if d == nil {
		return ""
	}
	var parts []string
	if d.Hot > 0 {
		parts = append(parts, fmt.Sprintf("%d hot %s, %d %s at other stores", d.Hot, plural(int(d.Hot), "content", "contents"), d.Copies, plural(int(d.Copies), "copy", "copies")))
	}
	if d.Taken > 0 {
		parts = append(parts, fmt.Sprintf("%d %s taken in for other nodes, read %s", d.Taken, plural(int(d.Taken), "copy", "copies"), humanCount(d.Lent)+" "+plural(int(d.Lent), "time", "times")))
	}
	return strings.Join(parts, "; ")
}

// problemText is a problem in one line.
func problemText(p node.Problem) string {
	if p.Name == "" {
		return p.Text
	}
	return p.Part + " " + p.Name + ": " + p.Text
}

// dataText tells where the node keeps what it knows.
func dataText(s *adminapi.StatusAnswer) string {
	if s.Journal == nil {
		return s.Data + ", records in Redis"
	}
	return fmt.Sprintf("%s, %s in the journal, %s free", s.Data, humanSize(s.Journal.Size), orUnknown(s.Journal.Free))
}

func storeRows(stores []inventory.Status) []string {
	rows := []string{"STORE\tSTATE\tWRITABLE\tCLONES\tUSED\tFREE\tDISK\tROOT"}
	for _, st := range stores {
		state := string(st.State)
		if st.Scanning {
			state += ", scanning"
		}
		if st.Scrub.Running {
			state += ", scrubbing"
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", st.Name, state, yesNo(st.Writable),
			humanCount(st.Clones), humanSize(st.Used), humanSize(st.Free), humanSize(st.Total), st.Root))
	}
	return rows
}

func recordsText(s *adminapi.StatusAnswer) string {
	var b strings.Builder
	for _, topic := range []struct{ one, many, key string }{
		{"clone", "clones", "inventory"}, {"purchase", "purchases", "purchase"}, {"user", "users", "user"}, {"session", "sessions", "session"},
	} {
		for key, n := range s.Journal.Records {
			if string(key) != topic.key {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString(humanCount(n) + " " + plural(int(n), topic.one, topic.many))
		}
	}
	return orNone(b.String())
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func orUnknown(n int64) string {
	if n < 0 {
		return "an unknown number of bytes"
	}
	return humanSize(n)
}
