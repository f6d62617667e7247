package prism

import (
	"context"
	"net/http"
	"slices"

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
	Map           []string `json:"map"`               // "<prism>:<store>" of the clones that can be had now
	Blocked       bool     `json:"blocked,omitempty"` // the operator refuses it
}

// detail answers /content/detail and /content/exists. Many contents are looked
// up in portions, so that each costs at most one question to other nodes.
func (h *Handler) detail(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	q, err := handlers.ReadHashes(w, r)
	if err != nil {
		return nil, err
	}
	inquiry := h.inquire(q)
	if !q.Many {
		recs, err := h.records(r.Context(), inquiry, q.Hashes)
		if err != nil {
			return nil, err
		}
		return recs[0], nil
	}
	out := handlers.NewObjectWriter(w)
	for asked := range slices.Chunk(q.Hashes, askedAbout) {
		recs, err := h.records(r.Context(), inquiry, asked)
		if err != nil {
			return nil, out.Add("", nil, err)
		}
		for i := range asked {
			if err := out.Add(asked[i].Text, recs[i], nil); err != nil {
				return nil, err
			}
		}
	}
	return nil, out.Close()
}

// records tells about contents. What is no hash is a content that nobody holds.
func (h *Handler) records(ctx context.Context, inquiry *inquiry, asked []handlers.Asked) ([]*contentRecord, error) {
	hashes := make([]content.Hash, len(asked))
	for i := range asked {
		hashes[i], _ = content.ParseHash(asked[i].Text)
	}
	placements, err := inquiry.places(ctx, hashes)
	if err != nil {
		return nil, err
	}
	recs := make([]*contentRecord, len(asked))
	for i, placement := range placements {
		recs[i] = &contentRecord{Hash: asked[i].Value(), Map: []string{}}
		if placement == nil {
			continue
		}
		if err := h.tell(recs[i], hashes[i], placement); err != nil {
			return nil, err
		}
	}
	return recs, nil
}

// tell writes into a record where a content is.
func (h *Handler) tell(rec *contentRecord, hash content.Hash, placement *inventory.Placement) error {
	rec.Blocked = placement.Blocked
	clones := h.available(placement)
	if len(clones) == 0 {
		if f := h.nobodyHolds(placement, notFound); len(placement.Clones) == 0 && f.Code == handlers.Unavailable {
			return f
		}
		return nil
	}
	first := clones[0]
	mediaType, path := handlers.MediaType(first.Ext), handlers.RelativePath(hash, first.Ext)
	rec.MimeType, rec.MimeExtension, rec.RelativePath = &mediaType, &first.Ext, &path
	rec.Exists, rec.Count, rec.Size = true, len(clones), first.Size
	for _, c := range clones {
		rec.Map = append(rec.Map, h.peerName(c.Store))
	}
	return nil
}

// available returns the clones of a placement on stores that answer, or can be
// expected to, the earliest first. The operator's block leaves none.
func (h *Handler) available(p *inventory.Placement) []inventory.Clone {
	if p.Blocked {
		return nil
	}
	var clones []inventory.Clone
	for _, c := range p.Clones {
		if h.Peers.Reachable(c.Store) {
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
