package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/clonetool"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// Bounds of a request about clones.
const (
	maxTold     = 100_000 // hashes that one request names
	maxParallel = 64
	parallel    = 4 // contents that are worked on at the same time, where nothing else is said
	// maxAudited is how many clones of one run have an entry each in the audit log;
	// the run itself has one with their number.
	maxAudited = 1000
)

// clones answers POST /oose/clones; see package clonetool.
func (c *call) clones() error {
	var ask ClonesRequest
	body, err := handlers.JSONBody(c.w, c.r, handlers.MaxHashes)
	if err != nil {
		return err
	}
	if err := json.NewDecoder(body).Decode(&ask); err != nil && !errors.Is(err, io.EOF) {
		if errors.As(err, new(*http.MaxBytesError)) {
			return asFault(err)
		}
		return handlers.Faultf(handlers.Malformed, "The body is not the JSON of a request about clones").Because(err)
	}
	if ask.Repair {
		return c.streamed(func(*lineStream) (any, error) { return c.repairNow(ask.Now) })
	}
	s, act, err := c.readClones(&ask)
	if err != nil {
		return err
	}
	tool := &clonetool.Tool{Index: c.index, Agent: c.repair, Copies: c.copies, Parallel: min(max(ask.Parallel, 0), maxParallel)}
	if tool.Parallel == 0 {
		tool.Parallel = parallel
	}
	return c.streamed(func(stream *lineStream) (any, error) {
		t := &teller{call: c, stream: stream, ask: &ask, act: act, plain: s.Empty() || act.Acts() && !act.Pretend && !ask.Detail}
		c.repair.Look()
		sum, err := tool.Run(c.r.Context(), s, act, clonetool.Report{Progress: t.progress, Outcome: t.outcome})
		t.audit(sum, err)
		switch {
		case errors.Is(err, clonetool.ErrRequest):
			return nil, handlers.Faultf(handlers.Malformed, "%s", err)
		case errors.Is(err, record.ErrUnavailable):
			return nil, unfinished(err, 0, 1)
		}
		return sum, err
	})
}

// repairNow tells what this node repairs; with now, what is away is taken for
// lost first.
func (c *call) repairNow(now bool) (any, error) {
	answer := RepairAnswer{}
	if now {
		answer.GivenUp = []string{}
		for _, id := range c.repair.Now(context.WithoutCancel(c.r.Context())) {
			answer.GivenUp = append(answer.GivenUp, c.storeName(id))
			c.audited(audit.Entry{Action: audit.RepairNow, Store: c.storeName(id), StoreID: id, Detail: "taken for lost"})
		}
	}
	answer.Status = c.repair.Status()
	return answer, nil
}

// storeName names a store by its id.
func (c *call) storeName(id string) string {
	if p, ok := c.registry.Lookup(id); ok {
		return p.Name.String()
	}
	return id
}

// readClones makes a selection and an action of a request. Its errors are Faults.
func (c *call) readClones(ask *ClonesRequest) (*clonetool.Selection, *clonetool.Action, error) {
	s := &clonetool.Selection{All: ask.All, Above: ask.Above, At: ask.At, Below: ask.Below}
	act := &clonetool.Action{
		Desired: ask.Desired, Verify: ask.Verify, Pretend: ask.Pretend, Force: ask.Force,
		Keep: map[content.Hash]bool{}, KeepStores: map[string]bool{},
	}
	var err error
	if s.Hashes, err = parseHashes(ask.Hash); err != nil {
		return nil, nil, err
	}
	if s.Stores, err = c.selected(ask); err != nil {
		return nil, nil, err
	}
	if ask.Folder != "" {
		if s.Folder, err = clonetool.ParseFolder(ask.Folder); err != nil {
			return nil, nil, handlers.Faultf(handlers.Malformed, "%s", err)
		}
	}
	if act.CloneTo, err = c.storeID(ask.CloneTo); err != nil {
		return nil, nil, err
	}
	if act.DropFrom, err = c.storeID(ask.DropFrom); err != nil {
		return nil, nil, err
	}
	kept, err := parseHashes(ask.Protect)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range kept {
		act.Keep[h] = true
	}
	for _, name := range ask.ProtectStores {
		p, err := c.store(name)
		if err != nil {
			return nil, nil, err
		}
		act.KeepStores[p.ID] = true
	}
	return s, act, c.guard(ask, s, act)
}

// storeID is the id of a store, "" for no name.
func (c *call) storeID(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	p, err := c.store(name)
	return p.ID, err
}

// guard refuses what is too easily asked for by mistake.
func (c *call) guard(ask *ClonesRequest, s *clonetool.Selection, act *clonetool.Action) error {
	for _, n := range []*int{ask.Above, ask.At, ask.Below} {
		if n != nil && *n < 0 {
			return handlers.Faultf(handlers.Malformed, "A number of clones is not below zero")
		}
	}
	switch {
	case act.Acts() && s.Empty():
		return handlers.Faultf(handlers.Malformed, "Say which contents are meant: by number of clones, hash, store, prism or folder, or all of them")
	case ask.Now:
		return handlers.Faultf(handlers.Malformed, `"now" belongs to "repair"`)
	case act.Desired > 0 && act.Desired < c.copies && !act.Force && !act.Pretend:
		return handlers.Faultf(handlers.Malformed, "%d clones are fewer than the %d that the settings want: force it, if that is meant", act.Desired, c.copies)
	}
	return nil
}

// selected are the ids of the stores that a request names, alone or by their prism.
func (c *call) selected(ask *ClonesRequest) ([]string, error) {
	var ids []string
	if ask.Store != "" {
		p, err := c.store(ask.Store)
		if err != nil {
			return nil, err
		}
		ids = append(ids, p.ID)
	}
	if ask.Prism == "" {
		return ids, nil
	}
	if len(ids) > 0 {
		return nil, handlers.Faultf(handlers.Malformed, "Name a store or a prism, not both")
	}
	for _, p := range c.registry.Peers() {
		if p.Kind == peer.Store && strings.EqualFold(p.Name.Prism, ask.Prism) {
			ids = append(ids, p.ID)
		}
	}
	if len(ids) == 0 {
		return nil, handlers.Faultf(handlers.RouteUnknown, "There is no prism %.64q with a store; GET /oose/peers lists those there are", ask.Prism)
	}
	slices.Sort(ids)
	return ids, nil
}

func parseHashes(texts []string) ([]content.Hash, error) {
	if len(texts) > maxTold {
		return nil, handlers.Faultf(handlers.TooLarge, "A request names at most %d hashes", maxTold)
	}
	var hashes []content.Hash
	for _, text := range texts {
		h, err := parseHash(text)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

// teller tells of a run while it goes on. The run calls it from one goroutine
// at a time.
type teller struct {
	*call
	stream  *lineStream
	ask     *ClonesRequest
	act     *clonetool.Action
	plain   bool // contents about which nothing was done are not told
	last    time.Time
	written int // entries in the audit log
}

func (t *teller) progress(p clonetool.Progress) {
	if now := time.Now(); now.Sub(t.last) >= progressEvery {
		t.last = now
		t.stream.send(StreamLine{Clones: &p})
	}
}

func (t *teller) outcome(o clonetool.Outcome) {
	for _, step := range o.Steps {
		t.note(o.Hash, step)
	}
	if t.plain && len(o.Steps) == 0 || t.plain && !t.act.Acts() {
		return
	}
	line := &ContentLine{Hash: o.Hash.String(), Count: o.Count, Wanted: o.Want, Size: o.Size, Blocked: o.Content.Blocked, Clones: []CloneLine{}}
	for _, step := range o.Steps {
		if step.Store != "" {
			step.Store = t.storeName(step.Store)
		}
		line.Steps = append(line.Steps, step)
	}
	for _, clone := range o.Content.Clones {
		line.Clones = append(line.Clones, t.cloneLine(clone))
	}
	t.stream.send(StreamLine{Content: line})
}

// cloneLine tells a clone; with detail, all that is recorded of it.
func (t *teller) cloneLine(clone inventory.Clone) CloneLine {
	line := CloneLine{Store: t.storeName(clone.Store), Standing: "unknown"}
	if s, ok := t.repair.Standing(clone.Store); ok {
		line.Standing = s.Standing.String()
	}
	if t.ask.Detail {
		line.ID, line.Ext, line.Size, line.Stored, line.Verified = clone.Store, clone.Ext, clone.Size, clone.Stored, clone.Verified
		line.Promised, line.Deep = clone.Promised, clone.Deep
	}
	return line
}

// note writes a clone that was made or dropped into the audit log.
func (t *teller) note(h content.Hash, step clonetool.Step) {
	action, ok := map[clonetool.Did]audit.Action{
		clonetool.Copied: audit.CloneAdd, clonetool.Dropped: audit.CloneDrop, clonetool.Wanted: audit.ContentWant,
	}[step.Did]
	if !ok || t.act.Pretend {
		return
	}
	if t.written++; t.written > maxAudited {
		return
	}
	e := audit.Entry{Action: action, Hash: h.String(), StoreID: step.Store}
	if step.Store != "" {
		e.Store = t.storeName(step.Store)
	}
	t.audited(e)
}

// audit writes the run itself down, where not all of it has entries of its own.
func (t *teller) audit(sum clonetool.Summary, err error) {
	if t.act.Pretend || t.written <= maxAudited {
		return
	}
	e := audit.Entry{Detail: fmt.Sprintf("of a run over %d contents, of which the first %d changes are told one by one", sum.Contents, maxAudited)}
	if err != nil {
		e.Error = asFault(err).Message
	}
	for action, n := range map[audit.Action]int64{audit.CloneAdd: sum.Copied, audit.CloneDrop: sum.Dropped} {
		if e.Action, e.Count = action, n; n > 0 {
			t.audited(e)
		}
	}
}
