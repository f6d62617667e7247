package prism

import (
	"context"
	"net/http"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
)

// contentRecord is what is known about one content. Of what nobody holds, the
// texts are null.
type contentRecord struct {
	Hash          any      `json:"hash"` // as it was asked for
	MimeType      *string  `json:"mimeType"`
	MimeExtension *string  `json:"mimeExtension"`
	RelativePath  *string  `json:"relativePath"`
	Exists        bool     `json:"exists"`
	Count         int      `json:"count"`
	Size          int64    `json:"size"`
	Map           []string `json:"map"` // "<prism>:<store>" of the clones that can be had now
}

// detail answers /content/detail and /content/exists. How long and how often
// other nodes would be asked is read and has no effect on one node.
func (h *Handler) detail(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	q, err := handlers.ReadHashes(w, r)
	if err != nil {
		return nil, err
	}
	if !q.Many {
		return h.record(r.Context(), q.Hashes[0])
	}
	out := handlers.NewObjectWriter(w)
	for _, asked := range q.Hashes {
		rec, err := h.record(r.Context(), asked)
		if err := out.Add(asked.Text, rec, err); err != nil {
			return nil, err
		}
	}
	return nil, out.Close()
}

// record looks one hash up.
func (h *Handler) record(ctx context.Context, asked handlers.Asked) (*contentRecord, error) {
	rec := &contentRecord{Hash: asked.Value(), Map: []string{}}
	hash, err := content.ParseHash(asked.Text)
	if err != nil {
		return rec, nil //nolint:nilerror // what is no hash is a content that nobody holds
	}
	placement, err := h.Index.Find(ctx, hash)
	if err != nil {
		return nil, err
	}
	clones := h.available(placement)
	if len(clones) == 0 {
		if f := h.nobodyHolds(placement, notFound); len(placement.Clones) == 0 && f.Code == handlers.Unavailable {
			return nil, f
		}
		return rec, nil
	}
	first := clones[0]
	mediaType, path := handlers.MediaType(first.Ext), handlers.RelativePath(hash, first.Ext)
	rec.MimeType, rec.MimeExtension, rec.RelativePath = &mediaType, &first.Ext, &path
	rec.Exists, rec.Count, rec.Size = true, len(clones), first.Size
	for _, c := range clones {
		rec.Map = append(rec.Map, h.peerName(c.Store))
	}
	return rec, nil
}

// available returns the clones of a placement on stores that answer, the
// earliest first. The operator's block leaves none.
func (h *Handler) available(p *inventory.Placement) []inventory.Clone {
	if p.Blocked {
		return nil
	}
	var clones []inventory.Clone
	for _, c := range p.Clones {
		if h.Peers.Available(c.Store) {
			clones = append(clones, c)
		}
	}
	return clones
}

func (h *Handler) peerName(store string) string {
	if p, ok := h.Peers.Lookup(store); ok {
		return p.Name.String()
	}
	if v, ok := h.Stores.Volume(store); ok {
		return h.set.Name.Prism + ":" + v.Name()
	}
	return h.set.Name.Prism + ":" + store
}
