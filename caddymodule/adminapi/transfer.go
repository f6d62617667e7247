package adminapi

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/export"
)

// awayFor is how long an export or import waits for records that are away.
const awayFor = 30 * time.Second

// RecordsHeader tells about how many records an export will have.
const RecordsHeader = "OOSE-Records"

// export answers GET /oose/export with all records; see package export for the
// format. The query may hold `position`, JSON: for each source the last revision
// that the client has.
func (c *call) export() error {
	since, err := queryPosition(c.r)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if n := c.recordCount(); n > 0 {
		h.Set(RecordsHeader, strconv.FormatInt(n, 10))
	}
	if c.r.Method == http.MethodHead {
		return nil
	}
	c.audited(audit.Entry{Action: audit.RecordsExport})
	sent := &sentWriter{w: c.w}
	buf := bufio.NewWriterSize(sent, 256<<10)
	w, err := export.NewWriter(buf, export.Header{Source: c.source(), Time: time.Now().UnixMilli()})
	if err != nil {
		return err
	}
	if _, err = export.Export(c.r.Context(), c.engine, since, w, c.patience); err == nil {
		err = w.Close()
	}
	switch {
	case err == nil:
		err = buf.Flush()
	case sent.err == nil && !sent.begun:
		h.Del(RecordsHeader)
		return err // as an answer of its own
	case sent.err == nil:
		c.log.Warn("an export failed", zap.Error(err))
		err = errors.Join(w.Fail(asFault(err).Message), buf.Flush())
	}
	if c.r.Context().Err() != nil {
		return nil // the client is gone
	}
	return err
}

// sentWriter notes whether something of an answer has been sent.
type sentWriter struct {
	w     io.Writer
	begun bool
	err   error
}

func (s *sentWriter) Write(p []byte) (int, error) {
	s.begun = true
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

// maxPosition bounds a position, in bytes of JSON.
const maxPosition = 512 << 10

func queryPosition(r *http.Request) (record.Position, error) {
	text := r.URL.Query().Get("position")
	if text == "" {
		return nil, nil
	}
	var since record.Position
	if len(text) > maxPosition || json.Unmarshal([]byte(text), &since) != nil {
		return nil, handlers.Faultf(handlers.Malformed, `position must be JSON that has for each source its last revision, as {"b4k2…":17}`)
	}
	return since, nil
}

// source is under what the engine writes, "" where it does not tell.
func (c *call) source() string {
	if named, ok := c.engine.(interface{ Source() string }); ok {
		return named.Source()
	}
	return ""
}

// recordCount is about how many records there are, 0 where nothing tells.
func (c *call) recordCount() (n int64) {
	if counted, ok := c.engine.(interface{ Stats() journal.Stats }); ok {
		for _, each := range counted.Stats().Records {
			n += each
		}
	}
	return n
}

// importRecords answers POST /oose/import, whose body is an export. With the
// query `incomplete` one that has no end is taken as far as it goes.
func (c *call) importRecords() error {
	to, ok := c.engine.(export.Target)
	if !ok {
		return handlers.Faultf(handlers.Unavailable, "This engine takes no records from elsewhere")
	}
	var answer ImportAnswer
	from, err := export.NewReader(c.r.Body)
	if err == nil {
		answer.Imported, err = export.Import(c.r.Context(), to, from, c.patience)
	}
	if errors.Is(err, export.ErrTruncated) && from != nil && c.r.URL.Query().Has("incomplete") {
		answer.Incomplete, err = true, nil
	}
	entry := audit.Entry{Action: audit.RecordsImport, Count: int64(answer.Taken), Detail: fmt.Sprintf("%d records were read", answer.Records)}
	if err != nil {
		c.drain()
		fault := importFault(answer.Imported, err)
		if answer.Taken > 0 { // and stays
			entry.Error = asFault(fault).Message
			c.audited(entry)
		}
		return fault
	}
	c.audited(entry)
	c.log.Info("records were imported", zap.Any("result", answer))
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, answer)
}

// drainFor is how long what a refused client still sends is read.
const drainFor = 30 * time.Second

// drain reads what is left of the body: who is cut off while it sends does not
// read why.
func (c *call) drain() {
	if err := http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(drainFor)); err == nil {
		_, _ = io.Copy(io.Discard, c.r.Body)
	}
}

// importFault tells why an import ended, and what it had done by then.
func importFault(done export.Imported, err error) error {
	so := fmt.Sprintf("%d records were read and %d taken before; the import may be repeated", done.Records, done.Taken)
	switch {
	case errors.Is(err, export.ErrFormat), errors.Is(err, export.ErrTruncated), errors.Is(err, record.ErrInvalid):
		return handlers.Faultf(handlers.Malformed, "%s; %s", err, so)
	case errors.Is(err, record.ErrUnavailable):
		return handlers.Faultf(handlers.Unavailable, "The node's records are not available now; %s", so).Because(err)
	}
	return err
}
