package prism

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
)

// scanRetry is when to ask again for what a scan may still find.
const scanRetry = 10 * time.Second

// durability is the header that says how many clones, or nodes, hold durably
// what was just written.
const durability = "OOSE-Durability"

// download answers with a content's bytes. A clone that fails is followed by
// the next one from that very byte.
func (h *Handler) download(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	var in handlers.HashField
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	hash, err := content.ParseHash(in.Text())
	if err != nil {
		return nil, handlers.Faultf(handlers.InvalidDownload, "%s", noCandidates).Because(err)
	}
	placement, err := h.find(r.Context(), hash)
	if err != nil {
		return nil, err
	}
	if placement.Blocked {
		return nil, inventory.ErrBlocked
	}
	if len(placement.Clones) == 0 {
		return nil, h.nobodyHolds(placement, noCandidates)
	}
	err = h.Sender.Send(w, r, placement, serve.Info{
		Ext: placement.Clones[0].Ext,
		Refuse: func(w http.ResponseWriter, r *http.Request, f *handlers.Fault) error {
			return handlers.WriteFault(w, r, f, h.set.Compat, true)
		},
	})
	if errors.Is(err, serve.ErrUnreadable) {
		return nil, handlers.Faultf(handlers.NoStore, "%s", noCandidates).Because(err)
	}
	return nil, err
}

// What OOSE 2.x said of content that nobody holds, by route.
const (
	noCandidates = "No store candidates found"
	notFound     = "File not found"
)

// nobodyHolds is the fault for content that no record places anywhere: unknown,
// or not yet known while a first scan goes on. What was removed is unknown.
func (h *Handler) nobodyHolds(p *inventory.Placement, message string) *handlers.Fault {
	if p.Removed == 0 && !p.Blocked && h.Stores.Scanning() {
		f := handlers.Faultf(handlers.Unavailable, "A store is still being scanned and may hold this; try again later")
		f.Retry = scanRetry
		return f
	}
	return handlers.Faultf(handlers.ContentUnknown, "%s", message)
}

// putContent takes one content under its hash, for one of this prism's stores.
func (h *Handler) putContent(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	name, _ := handlers.PutPath(handlers.TrimSlash(r.URL.EscapedPath()))
	hash, ext, err := handlers.ParseFile(name)
	if err != nil {
		return nil, err
	}
	defer h.loosenBody(r)()
	result, err := h.Uploader.Upload(r.Context(), upload.Request{
		Body: r.Body, Size: r.ContentLength, Want: hash, Ext: ext, Copies: 1, MaxSize: h.set.MaxSize, Stores: h.own(),
	})
	if err != nil {
		return nil, err
	}
	h.took(w, result.Size, result.Durability)
	return handlers.Status{Code: http.StatusCreated, Body: map[string]string{"success": "File uploaded", "file": name}}, nil
}

// own returns the stores of this prism, nil where it does not know them apart.
func (h *Handler) own() []upload.Store {
	if h.Own == nil {
		return nil
	}
	return append(make([]upload.Store, 0, 1), h.Own()...)
}

func (h *Handler) loosenBody(r *http.Request) func() {
	if h.LoosenBody == nil {
		return func() {}
	}
	return h.LoosenBody(r)
}

// took counts a content that was taken in, and says how durable it is.
func (h *Handler) took(w http.ResponseWriter, size int64, copies int) {
	h.Counters.Add("prism.content.filesUploaded", 1)
	h.Counters.Add("prism.content.bytesUploaded", size)
	w.Header().Set(durability, strconv.Itoa(copies))
}

// spreadTime bounds how long the answer about a removal waits for other nodes.
const spreadTime = time.Second

// removeContent writes down that a content is removed and has the stores here
// drop it; others do when they learn of it. That is waited for, so that an upload
// which follows the answer, at whichever node, is later than the removal by every
// clock.
func (h *Handler) removeContent(w http.ResponseWriter, r *http.Request, c caller) (any, error) {
	var in handlers.HashField
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	hash, err := content.ParseHash(in.Text())
	if err != nil {
		return nil, handlers.Faultf(handlers.InvalidHash, "Invalid hash: send the content's digest in hex").Because(err)
	}
	placement, err := h.find(r.Context(), hash)
	if err != nil {
		return nil, err
	}
	if len(placement.Clones) == 0 {
		return nil, h.nobodyHolds(placement, notFound)
	}
	ctx := context.WithoutCancel(r.Context())
	at, err := h.Index.Remove(ctx, hash)
	if err != nil {
		return nil, err
	}
	h.audit(w, r, c, audit.Entry{Action: audit.ContentRemove, Hash: hash.String(), Count: int64(len(placement.Clones))})
	for _, v := range h.Stores.Volumes() {
		// One that can't drop it now does when it can: the removal is written.
		if _, err := v.Drop(ctx, hash, at); err != nil {
			h.Log.Warn("removed content is not dropped yet", zap.String("store", v.Name()), zap.Stringer("hash", hash), zap.Error(err))
		}
	}
	if h.Spread != nil {
		waiting, cancel := context.WithTimeout(ctx, spreadTime)
		defer cancel()
		h.Spread(waiting)
	}
	h.Log.Info("content removed", zap.Stringer("hash", hash))
	return map[string]any{"success": "Content removed", "hash": hash.String(), "count": len(placement.Clones)}, nil
}
