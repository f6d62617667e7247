package repair

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// Prefix is what all routes of this package begin with.
const Prefix = "/cluster/repair/"

// Bounds of what the two ends send each other.
const (
	maxQuestion = 64 << 10 // bytes of a question
	maxLine     = 1 << 20  // bytes of a line of an answer
	maxRecords  = 64       // versions of one inventory record
	maxStores   = 1000     // that are given up at once
)

// What the two ends send each other.
type (
	question struct {
		Hash   string      `json:"hash,omitempty"`
		Store  string      `json:"store,omitempty"`
		To     string      `json:"to,omitempty"`
		Kept   record.Time `json:"kept,omitempty"`
		Fresh  int64       `json:"fresh,omitempty"` // milliseconds
		Stores []string    `json:"stores,omitempty"`
		Force  bool        `json:"force,omitempty"`
		Wanted int         `json:"wanted,omitempty"`
	}
	// line is a sign of life, or the last word: a result, or why there is none.
	line struct {
		Done   int64   `json:"done,omitempty"` // bytes so far
		Result *result `json:"result,omitempty"`
		Error  string  `json:"error,omitempty"`
		Kind   string  `json:"kind,omitempty"` // see kinds
	}
	result struct {
		Clone   inventory.Clone `json:"clone,omitzero"`
		Records []record.Record `json:"records,omitempty"`
		Doing   bool            `json:"doing,omitempty"`

		Verification *inventory.Verification `json:"verification,omitempty"`
	}
)

// kinds are the errors that the other end is told by name.
var kinds = []struct {
	err  error
	name string
}{
	{ErrNeeded, "needed"},
	{ErrNoSource, "no source"},
	{ErrUnknownStore, "unknown store"},
	{inventory.ErrPromised, "promised"},
	{inventory.ErrRemoved, "removed"},
	{inventory.ErrNotExist, "unknown"},
	{inventory.ErrChanged, "changed"},
	{inventory.ErrMismatch, "mismatch"},
	{inventory.ErrBlocked, "blocked"},
	{inventory.ErrFull, "full"},
	{inventory.ErrReadOnly, "read-only"},
	{inventory.ErrSuspect, "suspect"},
	{inventory.ErrOffline, "offline"},
	{upload.ErrNoStore, "no store"},
	{record.ErrConflict, "conflict"},
	{record.ErrUnavailable, "unavailable"},
	{content.ErrInvalidHash, "malformed"},
	{errMalformed, "malformed"},
}

var (
	errMalformed = errors.New("malformed question")
	errAnswer    = errors.New("unexpected answer of another node")
	errSilent    = errors.New("the other node has fallen silent")
	errGone      = errors.New("the store is gone")
)

func kindOf(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return "internal"
}

// refusal is what another node could not do.
type refusal struct {
	text string
	err  error
}

func (r *refusal) Error() string { return fmt.Sprintf("the other node says: %.300q", r.text) }

func (r *refusal) Unwrap() error { return r.err }

func refusalOf(l line) error {
	for _, k := range kinds {
		if k.name == l.Kind {
			return &refusal{l.Error, k.err}
		}
	}
	return &refusal{l.Error, errAnswer}
}

// askCarrier is ask for the node that carries a store, at its address. It ends
// when the store is found to be gone.
func (a *Agent) askCarrier(ctx context.Context, store, address, what string, q question, progress func(done int64)) (result, error) {
	if a.Gone == nil {
		return a.ask(ctx, address, what, q, progress)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() {
		select {
		case <-a.Gone(store):
			cancel(errGone)
		case <-ctx.Done():
		}
	})
	return a.ask(ctx, address, what, q, progress)
}

// ask sends a question to a node and reads its answer to the last line.
// progress is told of the bytes done; it may be nil.
func (a *Agent) ask(ctx context.Context, address, what string, q question, progress func(done int64)) (result, error) {
	if a.Doer == nil {
		return result{}, ErrUnknownStore
	}
	raw, err := json.Marshal(q)
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(a.tune.Silent, func() { cancel(errSilent) })
	defer silence.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address+Prefix+what, bytes.NewReader(raw))
	if err != nil {
		return result{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := a.Doer.Do(r)
	if err != nil {
		return result{}, causeOf(ctx, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	scan := bufio.NewScanner(resp.Body)
	scan.Buffer(nil, maxLine)
	for scan.Scan() {
		silence.Reset(a.tune.Silent)
		var l line
		switch err := json.Unmarshal(scan.Bytes(), &l); {
		case err != nil:
			return result{}, fmt.Errorf("%w: status %d", errAnswer, resp.StatusCode)
		case l.Error != "":
			return result{}, refusalOf(l)
		case l.Result != nil:
			return *l.Result, nil
		case progress != nil:
			progress(l.Done)
		}
	}
	if err := scan.Err(); err != nil {
		return result{}, causeOf(ctx, err)
	}
	return result{}, fmt.Errorf("%w: it ended early", errAnswer)
}

// causeOf says why a request failed that its context ended.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// answer runs what takes time, and writes a line every while until it ends.
// done, which may be nil, tells how far it is.
func answer(w http.ResponseWriter, tick time.Duration, done func() int64, run func() (result, error)) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	control, out := http.NewResponseController(w), json.NewEncoder(w)
	say := func(l line) {
		if out.Encode(l) == nil { // else the other end is gone, which ends the request's context
			_ = control.Flush()
		}
	}
	ended := make(chan line, 1)
	go func() {
		res, err := run()
		if err != nil {
			text := err.Error()
			ended <- line{Error: text[:min(len(text), 1000)], Kind: kindOf(err)}
			return
		}
		ended <- line{Result: &res}
	}()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	say(line{})
	for {
		select {
		case l := <-ended:
			say(l)
			return
		case <-ticker.C:
			l := line{}
			if done != nil {
				l.Done = done()
			}
			say(l)
		}
	}
}

// read reads a question.
func read(w http.ResponseWriter, r *http.Request) (q question, err error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	if err == nil {
		err = json.Unmarshal(raw, &q)
	}
	if err != nil || len(q.Stores) > maxStores || q.Fresh < 0 || q.Wanted < 0 {
		return question{}, errors.Join(errMalformed, err)
	}
	return q, nil
}
