package clones

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
)

// receiveBuffer is how much of an upload is read at once, in bytes.
const receiveBuffer = 256 << 10

var receiveBuffers = sync.Pool{New: func() any { return new([receiveBuffer]byte) }}

// upload answers a request about one upload.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, rest string) error {
	id, action, _ := strings.Cut(rest, "/")
	if !isID(id) || action != "" && action != "commit" {
		return fmt.Errorf("%w: no such path", errMalformed)
	}
	switch {
	case action == "" && r.Method == http.MethodPost:
		return s.beginUpload(w, r, id)
	case action == "" && r.Method == http.MethodPut:
		return s.receive(w, r, id)
	case action == "" && r.Method == http.MethodHead:
		return s.keepWaiting(w, id)
	case action == "" && r.Method == http.MethodDelete:
		s.uploads.take(id).abort()
		w.WriteHeader(http.StatusNoContent)
		return nil
	case action != "" && r.Method == http.MethodPost:
		return s.commit(w, r, id)
	}
	return methodUnknown(w, r, "POST, PUT, HEAD, DELETE")
}

// isID tells whether a text is the id of an upload, as rand.Text makes them.
func isID(id string) bool {
	if len(id) < len(rand.Text()) || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func (s *Server) beginUpload(w http.ResponseWriter, r *http.Request, id string) error {
	var in beginMessage
	if err := ask(w, r, &in); err != nil {
		return err
	}
	t, err := content.ParseType(in.Type)
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	if in.Size < -1 {
		return fmt.Errorf("%w: a size of %d", errMalformed, in.Size)
	}
	v, release, err := s.volume(in.Store)
	if err != nil {
		return err
	}
	defer release()
	u := &incoming{store: in.Store, size: in.Size, typ: t, digest: inventory.NewHash(t)}
	if err := s.uploads.add(id, u); err != nil {
		return err
	}
	temp, err := v.Create(r.Context(), in.Size)
	if err != nil {
		s.uploads.take(id).abort()
		return err
	}
	if !u.start(temp) {
		temp.Abort()
		return errNoUpload
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// receive takes the bytes of an upload and tells their digest.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, id string) error {
	u := s.uploads.get(id)
	control := http.NewResponseController(w)
	if !u.receiving(func() { _ = control.SetReadDeadline(time.Unix(1, 0)) }) { // where that is not supported, the client ends it
		return errNoUpload
	}
	all := false
	defer func() { // also where the connection ends it by a panic
		u.received()
		if !all {
			s.uploads.take(id).abort()
		}
	}()
	whole, err := u.copy(r)
	if err != nil {
		return err
	}
	all = true
	return handlers.WriteJSON(w, r, http.StatusOK, whole)
}

// copy writes a request's body and returns what came.
func (u *incoming) copy(r *http.Request) (wholeMessage, error) {
	buf := receiveBuffers.Get().(*[receiveBuffer]byte)
	defer receiveBuffers.Put(buf)
	for {
		n, err := r.Body.Read(buf[:])
		if n > 0 {
			if err := u.write(buf[:n]); err != nil {
				return wholeMessage{}, err
			}
		}
		if err == io.EOF { //nolint:errorlint // the body's own end
			return u.whole()
		}
		if err != nil {
			return wholeMessage{}, fmt.Errorf("receiving an upload: %w", err)
		}
	}
}

// keepWaiting notes that an upload is still wanted.
func (s *Server) keepWaiting(w http.ResponseWriter, id string) error {
	u := s.uploads.get(id)
	if u == nil {
		return errNoUpload
	}
	u.touch()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// commit keeps what was received.
func (s *Server) commit(w http.ResponseWriter, r *http.Request, id string) error {
	var in commitMessage
	if err := ask(w, r, &in); err != nil {
		return err
	}
	h, err := content.ParseHash(in.Hash)
	if err != nil {
		return err
	}
	u := s.uploads.get(id)
	temp, err := u.committing(h)
	if err != nil {
		return err
	}
	defer s.uploads.take(id)
	var c inventory.Clone
	if in.Kept > 0 {
		c, err = temp.CommitCopy(r.Context(), h, in.Ext, in.Kept)
	} else {
		c, err = temp.Commit(r.Context(), h, in.Ext)
	}
	if err != nil {
		return err
	}
	return s.tell(w, r, c)
}
