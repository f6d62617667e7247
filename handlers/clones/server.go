package clones

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// Volumes is the stores of this process.
type Volumes interface {
	// Volume returns the volume of the store with this id, if it is open here.
	Volume(id string) (*inventory.Volume, bool)
}

// Records gives the versions of a record. Every record.Engine does.
type Records interface {
	Get(ctx context.Context, topic record.Topic, key string) ([]record.Record, error)
}

// Copies are those that stores of this process have of contents they hold no
// clone of, because other nodes asked for them. *demand.Agent has them.
type Copies interface {
	// Lend opens a store's whole copy, at its beginning, for the caller to close.
	Lend(store string, h content.Hash) (*os.File, bool)
	// Drop says that a store's copy can't be read.
	Drop(store string, h content.Hash)
}

// ServerDeps is what a Server works with.
type ServerDeps struct {
	Volumes Volumes
	Index   Index
	Records Records
	Copies  Copies          // nil: there are none
	Loosen  delivery.Loosen // nil: the web server bounds no response
	Log     *zap.Logger     // nil: none
}

// Server gives and takes the clones of this process's stores to and from other
// nodes. It serves ClonePath, UploadPath and RenewPath for those whose
// signature was checked.
type Server struct {
	ServerDeps
	uploads uploads
}

// NewServer returns a server. Close ends it.
func NewServer(deps ServerDeps) *Server {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	s := &Server{ServerDeps: deps}
	s.uploads.init(defaultPatience())
	return s
}

// Close takes back every upload that has no verdict, refuses new ones, and
// waits until all that the server does by itself has ended, or ctx has.
func (s *Server) Close(ctx context.Context) error { return s.uploads.close(ctx) }

// LetGo takes back the uploads to a store that have no verdict: it is about to be
// closed, which waits for all who use it, and a node that died in the middle of an
// upload leaves one that would be waited for until its patience ends.
func (s *Server) LetGo(store string) {
	for _, u := range s.uploads.of(store) {
		u.abort()
	}
}

// ServeHTTP answers another node.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.route(w, r); err != nil {
		if !errors.Is(err, inventory.ErrNotExist) && !errors.Is(err, errNoUpload) && r.Context().Err() == nil {
			s.Log.Warn("another node's request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
		}
		refuse(w, r, err)
	}
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.Path
	if text, ok := strings.CutPrefix(path, ClonePath); ok {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return methodUnknown(w, r, "GET, HEAD")
		}
		return s.give(w, r, text)
	}
	if rest, ok := strings.CutPrefix(path, UploadPath); ok {
		return s.upload(w, r, rest)
	}
	if id, ok := strings.CutPrefix(path, StorePath); ok {
		return s.tellHeld(w, id)
	}
	if path != RenewPath {
		return fmt.Errorf("%w: no such path", errMalformed)
	}
	if r.Method != http.MethodPost {
		return methodUnknown(w, r, "POST")
	}
	return s.renew(w, r)
}

func methodUnknown(w http.ResponseWriter, r *http.Request, allow string) error {
	w.Header().Set("Allow", allow)
	_ = handlers.WriteJSON(w, r, http.StatusMethodNotAllowed, faultMessage{Error: "use one of " + allow, Kind: "malformed"}) // a node that is gone needs no answer
	return nil
}

// give sends a clone as its record says that it is.
func (s *Server) give(w http.ResponseWriter, r *http.Request, text string) error {
	h, err := content.ParseHash(text)
	if err != nil {
		return err
	}
	v, release, err := s.volume(r.URL.Query().Get("store"))
	if err != nil {
		return err
	}
	defer release()
	c, known, err := s.find(r.Context(), v.ID(), h)
	if known && errors.Is(err, inventory.ErrNotExist) && s.Copies != nil {
		if f, ok := s.Copies.Lend(v.ID(), h); ok {
			return s.lend(w, r, v.ID(), h, f)
		}
	}
	if err != nil {
		return err
	}
	info := serve.Info{Hash: h, Ext: content.UnknownExt, Size: c.Size, CacheControl: "no-store", Loosen: s.Loosen, Failed: func(err error) { v.Failed(h, err) }}
	f, err := v.Open(r.Context(), c)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return delivery.ServeContent(w, r, f, info)
}

// lend sends a store's copy of a content that it holds no clone of.
func (s *Server) lend(w http.ResponseWriter, r *http.Request, store string, h content.Hash, f *os.File) error {
	defer f.Close() //nolint:errcheck // it was only read
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	return delivery.ServeContent(w, r, f, serve.Info{
		Hash: h, Ext: content.UnknownExt, Size: stat.Size(), CacheControl: "no-store", Loosen: s.Loosen,
		Failed: func(error) { s.Copies.Drop(store, h) },
	})
}

// find returns a store's clone of a content; known tells whether any store holds
// it.
func (s *Server) find(ctx context.Context, store string, h content.Hash) (c inventory.Clone, known bool, err error) {
	p, err := s.Index.Find(ctx, h)
	switch {
	case err != nil:
		return c, false, err
	case p.Blocked:
		return c, false, inventory.ErrBlocked
	}
	for _, c := range p.Clones {
		if c.Store == store {
			return c, true, nil
		}
	}
	return c, len(p.Clones) > 0, inventory.ErrNotExist
}

// volume returns a store of this process, held open until release.
func (s *Server) volume(id string) (v *inventory.Volume, release func(), err error) {
	v, ok := s.Volumes.Volume(id)
	if !ok || id == "" {
		return nil, nil, fmt.Errorf("%w: this store is not on this node", inventory.ErrOffline)
	}
	release, ok = v.Acquire()
	if !ok {
		return nil, nil, inventory.ErrOffline
	}
	return v, release, nil
}

// renew keeps a clone that is there already.
func (s *Server) renew(w http.ResponseWriter, r *http.Request) error {
	var in renewMessage
	if err := ask(w, r, &in); err != nil {
		return err
	}
	h, err := content.ParseHash(in.Hash)
	if err != nil {
		return err
	}
	v, release, err := s.volume(in.Store)
	if err != nil {
		return err
	}
	defer release()
	c, ok, err := v.Renew(r.Context(), h)
	if err == nil && !ok {
		err = inventory.ErrNotExist
	}
	if err != nil {
		return err
	}
	return s.tell(w, r, c)
}

// tell answers with a clone and its inventory record, as it stands here.
func (s *Server) tell(w http.ResponseWriter, r *http.Request, c inventory.Clone) error {
	versions, err := s.Records.Get(r.Context(), record.Inventory, c.Hash.String())
	if err != nil {
		return err
	}
	out := cloneMessage{Clone: c}
	for _, v := range versions {
		if v.Member == c.Store && len(out.Records) < maxRecords {
			out.Records = append(out.Records, v)
		}
	}
	return handlers.WriteJSON(w, r, http.StatusOK, out)
}

// ask reads a JSON question.
func ask(w http.ResponseWriter, r *http.Request, v any) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}
