package command

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// humanSize writes a number of bytes with its unit.
func humanSize(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// humanCount writes a number with commas.
func humanCount(n int64) string { return humanize.Comma(n) }

// clock writes a time in milliseconds since 1970 for people, in the zone of
// their machine.
func clock(ms int64) string {
	if ms <= 0 {
		return "never"
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05 -0700")
}

// plural picks the word that goes with n.
func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// yesNo writes a flag for people.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// table aligns the columns of rows whose cells are separated by tabs.
func table(w io.Writer, rows ...string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, row)
	}
	return t.Flush()
}
