package store

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
)

// put takes one content under its hash.
func (h *Handler) put(w http.ResponseWriter, r *http.Request) (any, error) {
	name, _ := handlers.PutPath(handlers.TrimSlash(r.URL.EscapedPath()))
	hash, ext, err := handlers.ParseFile(name)
	if err != nil {
		return nil, err
	}
	if h.LoosenBody != nil {
		defer h.LoosenBody(r)()
	}
	result, err := h.Uploader.Upload(r.Context(), upload.Request{
		Body: r.Body, Size: r.ContentLength, Want: hash, Ext: ext, Copies: 1, MaxSize: h.set.MaxSize, Stores: h.local,
	})
	if err != nil {
		return nil, err
	}
	h.Counters.Add("store.content.bytesUploaded", result.Size)
	w.Header().Set("OOSE-Durability", strconv.Itoa(result.Durability))
	return handlers.Status{Code: http.StatusCreated, Body: map[string]string{"hash": hash.String()}}, nil
}

// held returns this store's clone of a content, to be given away. Its error is
// ErrBlocked where the operator refuses that, and ErrNotExist where there is no
// clone; while the first scan goes on, that is not known yet.
func (h *Handler) held(ctx context.Context, hash content.Hash) (inventory.Clone, error) {
	if !h.Volume.Readable() {
		return inventory.Clone{}, inventory.ErrOffline
	}
	if refused, err := h.Volume.Refuses(ctx, hash); err != nil {
		return inventory.Clone{}, err
	} else if refused {
		return inventory.Clone{}, inventory.ErrBlocked
	}
	c, ok, err := h.Volume.Has(ctx, hash)
	if err != nil || ok {
		return c, err
	}
	if s := h.Volume.Status(); !s.Scanned {
		f := handlers.Faultf(handlers.Unavailable, "The store is still being scanned and may hold this; try again later")
		f.Retry = scanRetry
		return inventory.Clone{}, f
	}
	return inventory.Clone{}, inventory.ErrNotExist
}

// scanRetry is when to ask again for what a scan may still find.
const scanRetry = 5 * time.Second

func (h *Handler) download(w http.ResponseWriter, r *http.Request) (any, error) {
	hash, err := readHash(w, r)
	if err != nil {
		return nil, err
	}
	c, err := h.held(r.Context(), hash)
	if err != nil {
		return nil, err
	}
	release, ok := h.Volume.Acquire()
	if !ok {
		return nil, inventory.ErrOffline
	}
	defer release()
	f, err := h.Volume.Open(r.Context(), c)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return nil, delivery.ServeContent(w, r, f, serve.Info{
		Hash: hash, Ext: c.Ext, Size: c.Size, Loosen: h.Loosen,
		Failed: func(err error) { h.Volume.Failed(hash, err) },
		Refuse: func(w http.ResponseWriter, r *http.Request, f *handlers.Fault) error {
			return handlers.WriteFault(w, r, f, h.set.Compat, true)
		},
	})
}

// readHash reads a request about one content. What is no hash is a content that
// the store does not hold.
func readHash(w http.ResponseWriter, r *http.Request) (content.Hash, error) {
	var in handlers.HashField
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return content.Hash{}, err
	}
	hash, err := content.ParseHash(in.Text())
	if err != nil {
		return content.Hash{}, handlers.Faultf(handlers.InvalidDownload, "%s", notFound).Because(err)
	}
	return hash, nil
}

// existence tells whether the store holds a content, and its extension.
type existence struct {
	Exists bool   `json:"exists"`
	Ext    string `json:"ext"`
}

func (h *Handler) exists(w http.ResponseWriter, r *http.Request) (any, error) {
	q, err := handlers.ReadHashes(w, r)
	if err != nil {
		return nil, err
	}
	if !q.Many {
		e, err := h.existence(r.Context(), q.Hashes[0])
		return map[string]existence{"exists": e}, err
	}
	out := handlers.NewObjectWriter(w)
	for _, asked := range q.Hashes {
		e, err := h.existence(r.Context(), asked)
		if err := out.Add(asked.Text, e, err); err != nil {
			return nil, err
		}
	}
	return nil, out.Close()
}

func (h *Handler) existence(ctx context.Context, asked handlers.Asked) (existence, error) {
	hash, err := content.ParseHash(asked.Text)
	if err != nil {
		return existence{}, nil //nolint:nilerror // what is no hash is a content that is not here
	}
	c, err := h.held(ctx, hash)
	if errors.Is(err, inventory.ErrNotExist) || errors.Is(err, inventory.ErrBlocked) {
		return existence{}, nil
	}
	return existence{Exists: err == nil, Ext: c.Ext}, err
}

// fileStat is what is known of a clone's file.
type fileStat struct {
	Size  int64     `json:"size"`  // bytes
	Mtime time.Time `json:"mtime"` // when it was written
}

// fileDetail tells a clone. Where it lies on the disk is not told.
type fileDetail struct {
	Hash     string   `json:"hash"`
	Ext      string   `json:"ext"`
	Type     string   `json:"type"`     // of the digest
	HashType string   `json:"hashType"` // the same, as OOSE 2.x calls it in some places
	FileName string   `json:"fileName"`
	Exists   bool     `json:"exists"`
	Stat     fileStat `json:"stat"`
}

func detailOf(c inventory.Clone) fileDetail {
	hash, hashType := c.Hash.String(), c.Hash.Type().String()
	return fileDetail{
		Hash: hash, Ext: c.Ext, Type: hashType, HashType: hashType, FileName: hash + "." + c.Ext, Exists: true,
		Stat: fileStat{Size: c.Size, Mtime: time.Unix(0, c.Mtime).UTC()},
	}
}

func (h *Handler) detail(w http.ResponseWriter, r *http.Request) (any, error) {
	hash, err := readHash(w, r)
	if err != nil {
		return nil, err
	}
	c, err := h.held(r.Context(), hash)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"hash": hash.String(), "mimeExtension": c.Ext, "mimeType": handlers.MediaType(c.Ext),
		"relativePath": handlers.RelativePath(hash, c.Ext),
		"prism":        h.set.Name.Prism, "store": h.set.Name.Store,
		"size": c.Size, "hashDetail": detailOf(c),
	}, nil
}
