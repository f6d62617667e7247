package adminapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/ooseio/oose/handlers"
)

// auditLog answers GET /oose/audit with this node's audit log, one JSON object a
// line, the oldest first. The query may hold `since` (that time and later) or
// `after` (later than it), as RFC 3339 or milliseconds since 1970.
func (c *call) auditLog() error {
	after, err := queryTime(c.r, "after")
	if err != nil {
		return err
	}
	since, err := queryTime(c.r, "since")
	if err != nil {
		return err
	}
	if before := since.Add(-1); !since.IsZero() && before.After(after) {
		after = before
	}
	if c.audit == nil {
		return handlers.Faultf(handlers.Unavailable, "This node keeps no audit log")
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if c.r.Method == http.MethodHead {
		return nil
	}
	enc, begun := json.NewEncoder(c.w), false
	for e, err := range c.audit.Read(after) {
		if err == nil {
			err = enc.Encode(e)
		}
		if err != nil {
			return c.breakOff(begun, err)
		}
		begun = true
	}
	return nil
}

// queryTime reads a time of the query, the zero time where it has none.
func queryTime(r *http.Request, name string) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, handlers.Faultf(handlers.Malformed, "%s must be a time, as 2026-11-20T12:00:00Z, or milliseconds since 1970", name)
	}
	return t, nil
}
