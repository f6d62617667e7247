package store

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/peer"
)

// verifyDetail tells what reading a clone again has shown.
type verifyDetail struct {
	Success  string `json:"success,omitempty"`
	Code     int    `json:"code"`
	Status   string `json:"status"` // ok or fail
	Expected string `json:"expectedHash"`
	Actual   string `json:"actualHash,omitempty"`
	Skipped  bool   `json:"verifySkipped"` // verified recently enough
	Verified bool   `json:"verified"`
	At       int64  `json:"verifiedAt"` // milliseconds since 1970

	Error   string    `json:"error,omitempty"`
	Message string    `json:"message,omitempty"`
	Err     *struct{} `json:"err,omitempty"` // what OOSE 2.x made of its own error
}

func verifyOf(v inventory.Verification) verifyDetail {
	d := verifyDetail{
		Success: "Verification complete", Code: http.StatusOK, Status: "ok",
		Expected: v.Expected, Actual: v.Actual, Skipped: v.Skipped, Verified: v.OK, At: v.VerifiedAt,
	}
	if !v.OK {
		d.Status = "fail"
	}
	if v.Skipped && d.Actual == "" {
		d.Actual = d.Expected
	}
	return d
}

// parseFile reads `file`: "<hash>.<ext>", the hash alone, or the relative path
// that details tell. Its errors are Faults.
func parseFile(file string) (content.Hash, string, error) {
	if file == "" {
		return content.Hash{}, "", handlers.Faultf(handlers.Malformed, `The field "file" is missing: send "<hash>.<ext>"`)
	}
	name := strings.ReplaceAll(file, "/", "")
	if !strings.Contains(name, ".") {
		if hash, err := content.ParseHash(name); err == nil {
			return hash, "", nil
		}
	}
	hash, ext, err := handlers.ParseFile(name)
	if err == nil && name != file && handlers.RelativePath(hash, ext) != strings.ToLower(file) {
		err = handlers.Faultf(handlers.Malformed, `"file" is not valid: send "<hash>.<ext>"`)
	}
	return hash, ext, err
}

// verify reads a clone again. One that fails is taken away with its record.
func (h *Handler) verify(w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		File  string        `json:"file"`
		Force handlers.Flag `json:"force"`
	}
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	hash, _, err := parseFile(in.File)
	if err != nil {
		return nil, err
	}
	v, err := h.verified(r.Context(), hash, bool(in.Force))
	if errors.Is(err, inventory.ErrNotExist) {
		d := verifyDetail{
			Code: http.StatusNotFound, Status: "fail", Expected: hash.String(), At: h.Clock.Wall().UnixMilli(),
			Error: notFound, Message: notFound,
		}
		if h.set.Compat {
			d.Err = &struct{}{}
		}
		return handlers.Status{Code: http.StatusNotFound, Body: d}, nil
	}
	if err != nil {
		return nil, err
	}
	return verifyOf(v), nil
}

// verified verifies a clone that is known to be here.
func (h *Handler) verified(ctx context.Context, hash content.Hash, force bool) (inventory.Verification, error) {
	if !h.Volume.Readable() {
		return inventory.Verification{}, inventory.ErrOffline
	}
	v, err := h.Volume.Verify(ctx, hash, force)
	if errors.Is(err, inventory.ErrNotExist) {
		err = h.missing(ctx, hash)
	}
	return v, err
}

// missing returns the error for a clone that is not here: while the first scan
// goes on, that is not known yet. That the content is blocked does not matter to
// who verifies or removes it.
func (h *Handler) missing(ctx context.Context, hash content.Hash) error {
	if _, err := h.held(ctx, hash); err != nil && !errors.Is(err, inventory.ErrBlocked) {
		return err
	}
	return inventory.ErrNotExist
}

// remove takes this store's clone away, verified before. Other stores keep
// theirs.
func (h *Handler) remove(w http.ResponseWriter, r *http.Request) (any, error) {
	hash, err := readHash(w, r)
	if err != nil {
		return nil, err
	}
	if !h.Volume.Readable() {
		return nil, inventory.ErrOffline
	}
	c, v, err := h.Volume.Remove(r.Context(), hash)
	if errors.Is(err, inventory.ErrNotExist) {
		err = h.missing(r.Context(), hash)
	}
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"fileDetail": detailOf(c), "verifyDetail": verifyOf(v)}
	h.audit(w, r, audit.Entry{Action: audit.CloneDrop, Hash: hash.String(), Store: h.set.Name.String(), StoreID: h.Volume.ID(), Error: notSound(v)})
	if !v.OK {
		answer["error"] = "File verify failed"
		return handlers.Status{Code: handlers.VerifyFailed.Status(h.set.Compat), Body: answer}, nil
	}
	answer["success"] = "File removed"
	return answer, nil
}

// sendFault is a failed send, as this route tells it.
type sendFault struct {
	code    handlers.Code
	message string
	details any
	store   any
	cause   error
}

// send verifies a clone and puts it to another store.
func (h *Handler) send(w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		File  string `json:"file"`
		Store string `json:"store"`
	}
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	hash, ext, err := parseFile(in.File)
	if err != nil {
		return nil, err
	}
	if in.Store == "" {
		return nil, handlers.Faultf(handlers.Malformed, `The field "store" is missing: send "<prism>:<store>"`)
	}
	answer, failed, err := h.sendClone(r.Context(), hash, ext, in.Store)
	if err != nil {
		return nil, err
	}
	if failed == nil {
		h.audit(w, r, audit.Entry{Action: audit.CloneAdd, Hash: hash.String(), Store: in.Store})
		answer["success"], answer["file"] = "Clone sent", in.File
		return answer, nil
	}
	h.Log.Warn("clone was not sent: " + failed.message)
	body := map[string]any{"error": "Failed to send clone " + failed.message, "file": in.File}
	if h.set.Compat {
		body["err"], body["details"], body["store"] = struct{}{}, failed.details, failed.store
	}
	return handlers.Status{Code: failed.code.Status(h.set.Compat), Body: body}, nil
}

func (h *Handler) sendClone(ctx context.Context, hash content.Hash, ext, to string) (map[string]any, *sendFault, error) {
	none := struct{}{}
	target, p, ok := h.target(to)
	if !ok {
		return nil, &sendFault{handlers.SendUnknown, "Store not found", none, none, nil}, nil
	}
	store := map[string]any{
		"name": p.Name.Store, "prism": p.Name.Prism, "type": p.Kind, "active": p.Active, "writable": p.Writable,
		"available": h.Peers.Available(p.ID),
	}
	c, err := h.held(ctx, hash)
	var v inventory.Verification
	if err == nil {
		v, err = h.verified(ctx, hash, true)
	}
	if errors.Is(err, inventory.ErrNotExist) || err == nil && !v.OK {
		code := handlers.VerifyFailed
		if err != nil {
			code = handlers.SendUnknown
		}
		missing := map[string]any{"hash": hash.String(), "ext": "", "exists": false, "stat": none, "err": none}
		return nil, &sendFault{code, "Verify failed", missing, store, err}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if target == nil {
		return nil, &sendFault{handlers.SendFailed, "Store can't be reached", none, store, nil}, nil
	}
	if ext == "" {
		ext = c.Ext
	}
	if err := h.copyTo(ctx, target, c, ext); err != nil {
		f := fault(err)
		return nil, &sendFault{handlers.SendFailed, f.Message, none, store, err}, nil
	}
	return map[string]any{"store": store, "fileDetail": detailOf(c), "verifyDetail": verifyOf(v)}, nil, nil
}

// target finds a store by its full name. It is nil where it can't be reached.
func (h *Handler) target(full string) (upload.Store, heartbeat.Peer, bool) {
	name, err := peer.ParseName(full)
	if err != nil || name.Store == "" {
		return nil, heartbeat.Peer{}, false
	}
	p, ok := h.Peers.ByLabel(name.Store)
	if !ok || p.Name != name {
		return nil, heartbeat.Peer{}, false
	}
	if v, ok := h.Stores.Volume(p.ID); ok {
		return upload.Local(v, p.Node, p.Group), p, true
	}
	if h.Remote != nil {
		if s, ok := h.Remote(p); ok {
			return s, p, true
		}
	}
	return nil, p, true
}

// copyTo makes a clone in another store from this one's.
func (h *Handler) copyTo(ctx context.Context, target upload.Store, c inventory.Clone, ext string) error {
	body, err := h.local[0].Open(ctx, c)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was only read
	_, err = h.Uploader.Upload(ctx, upload.Request{
		Body: body, Size: c.Size, Want: c.Hash, Ext: ext, Copies: 1, Stores: []upload.Store{target},
	})
	return err
}
