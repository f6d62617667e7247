package adminapi

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/purchase"
)

// put answers POST /oose/put?name=: it stores the body, and makes a purchase of
// it. The query may hold `hash` (a type of digest) and `life` (milliseconds).
func (c *call) put() error {
	query := c.r.URL.Query()
	kind, err := c.hashType(query.Get("hash"))
	if err != nil {
		return err
	}
	life, err := c.queryLife(query.Get("life"))
	if err != nil {
		return err
	}
	name := query.Get("name")
	result, err := c.uploader.Upload(c.r.Context(), upload.Request{
		Body: c.r.Body, Size: c.r.ContentLength, Type: kind,
		Ext: content.ExtOf(name, ""), Copies: c.copies, MaxSize: c.maxSize,
	})
	if err != nil {
		c.counters.Fail("admin.content.put", 1)
		return upload.Fault(err)
	}
	c.counters.Add("admin.content.filesUploaded", 1)
	c.counters.Add("admin.content.bytesUploaded", result.Size)
	made, _, err := c.book.Make(c.r.Context(), purchase.Spec{Hash: result.Hash, Ext: result.Ext, Life: life})
	if err != nil {
		return purchaseFault(err)
	}
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, PutAnswer{
		Hash: result.Hash.String(), Ext: result.Ext, Size: result.Size, Durability: result.Durability,
		URL: c.purchaseURL(made, name), Expires: made.Expires,
	})
}

func (c *call) hashType(name string) (content.Type, error) {
	if name == "" {
		return c.hash, nil
	}
	t, err := content.ParseType(name)
	if err != nil {
		return 0, handlers.Faultf(handlers.Malformed, "%.16q is not a type of hash: use md5, sha1, sha224, sha256, sha384 or sha512", name)
	}
	return t, nil
}

func (c *call) queryLife(text string) (time.Duration, error) {
	if text == "" {
		return c.life, nil
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, handlers.Faultf(handlers.Malformed, "life must be a whole number of milliseconds")
	}
	return c.lifeOf(ms)
}

// lifeOf makes a life of milliseconds; 0 is the default.
func (c *call) lifeOf(ms int64) (time.Duration, error) {
	if ms == 0 {
		return c.life, nil
	}
	if ms < 0 || ms > purchase.MaxLife.Milliseconds() {
		return 0, handlers.Faultf(handlers.Malformed, "life must be more than 0 and at most %d milliseconds", purchase.MaxLife.Milliseconds())
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// purchaseURL is where a purchase is fetched: with the given name, or the
// content's type as one.
func (c *call) purchaseURL(p *purchase.Purchase, name string) string {
	name = path.Base("/" + strings.ReplaceAll(name, `\`, "/"))
	if name == "/" || name == "." || name == ".." {
		name = "file." + p.Ext
		if content.IsAudioVideo(p.Ext) {
			name = "video." + p.Ext
		}
	}
	return strings.TrimSuffix(c.url, "/") + "/" + string(p.Token) + "/" + url.PathEscape(name)
}

// content answers GET /oose/content/{hash} with the bytes, from a store of this
// node.
func (c *call) content() error {
	h, err := parseHash(c.r.PathValue("hash"))
	if err != nil {
		return err
	}
	placement, err := c.index.Find(c.r.Context(), h)
	if err != nil {
		return err
	}
	if placement.Blocked {
		return handlers.Faultf(handlers.Blocked, "This content is blocked")
	}
	if len(placement.Clones) == 0 {
		return handlers.Faultf(handlers.ContentUnknown, "No store holds %s", h)
	}
	source := &cloneSource{call: c, clones: placement.Clones}
	defer source.close()
	first := placement.Clones[0]
	info := &serve.Info{Hash: h, Ext: first.Ext, Size: first.Size, CacheControl: "no-store", Next: source.next}
	plan := serve.Prepare(c.r, info)
	var file *os.File
	if plan.HasBody() {
		if file, err = source.file(); err != nil {
			return handlers.Faultf(handlers.NoStore, "No store that holds %s can be read now", h).Because(err)
		}
	}
	switch _, err := plan.Send(c.w, c.r, file); {
	case errors.Is(err, serve.ErrUnreadable):
		return handlers.Faultf(handlers.NoStore, "No store that holds %s can be read now", h).Because(err)
	case err != nil:
		return c.breakOff(true, err)
	}
	return nil
}

// cloneSource opens a content's clones, one after the other, in the stores of
// this node.
type cloneSource struct {
	*call
	clones []inventory.Clone // not tried yet
	opened []func()
}

// file opens the next clone that can be opened.
func (s *cloneSource) file() (*os.File, error) {
	failed := inventory.ErrNotExist
	for len(s.clones) > 0 {
		clone := s.clones[0]
		s.clones = s.clones[1:]
		v := s.holder(clone.Store)
		if v == nil || !v.Readable() {
			continue
		}
		release, ok := v.Acquire()
		if !ok {
			continue
		}
		f, err := v.Open(s.r.Context(), clone)
		if err != nil {
			release()
			failed = err
			continue
		}
		s.opened = append(s.opened, func() { f.Close(); release() })
		return f, nil
	}
	return nil, failed
}

// next goes on with another clone at an offset.
func (s *cloneSource) next(offset, _ int64) (io.ReadCloser, error) {
	f, err := s.file()
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return f, nil
}

// holder returns the volume with a store's id, nil where it is not here.
func (s *cloneSource) holder(id string) *inventory.Volume {
	for _, v := range s.volumes {
		if v.ID() == id {
			return v
		}
	}
	return nil
}

func (s *cloneSource) close() {
	for _, done := range s.opened {
		done()
	}
}

// purchase answers POST /oose/purchase, as a prism does.
func (c *call) purchase() error {
	var ask PurchaseRequest
	if err := handlers.ReadJSON(c.w, c.r, &ask); err != nil {
		return err
	}
	h, err := parseHash(ask.Hash)
	if err != nil {
		return err
	}
	life, err := c.lifeOf(ask.Life)
	if err != nil {
		return err
	}
	placement, err := c.index.Find(c.r.Context(), h)
	if err != nil {
		return err
	}
	if placement.Blocked {
		return handlers.Faultf(handlers.Blocked, "This content is blocked")
	}
	if len(placement.Clones) == 0 {
		return handlers.Faultf(handlers.ContentUnknown, "No store holds %s: put it first", h)
	}
	made, _, err := c.book.Make(c.r.Context(), purchase.Spec{
		Hash: h, Ext: cmp.Or(ask.Ext, placement.Clones[0].Ext), Referrer: ask.Referrer, IP: ask.IP,
		Count: ask.Count, Life: life,
	})
	if err != nil {
		return purchaseFault(err)
	}
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, PurchaseAnswer{
		Token: string(made.Token), Hash: h.String(), Ext: made.Ext,
		Referrer: strings.Join(made.Referrer, ","), Expires: strconv.FormatInt(made.Expires, 10),
		Count: made.Count, URL: c.purchaseURL(made, ask.Name),
	})
}

// purchaseRemove answers POST /oose/purchase/remove.
func (c *call) purchaseRemove() error {
	var ask RemoveRequest
	if err := handlers.ReadJSON(c.w, c.r, &ask); err != nil {
		return err
	}
	token, err := purchase.ParseToken(ask.Token)
	if err != nil {
		return handlers.Faultf(handlers.InvalidToken, "That is not a token: it has 20 letters and digits")
	}
	entry := handlers.AuditPurchase(c.r.Context(), c.book, token)
	if err := c.book.Revoke(c.r.Context(), token); err != nil {
		return purchaseFault(err)
	}
	c.audited(entry)
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, RemoveAnswer{Token: string(token), Count: 1, Success: "Purchase removed"})
}

// purchaseFault tells what is wrong with a purchase.
func purchaseFault(err error) error {
	if errors.Is(err, purchase.ErrUnknown) {
		return handlers.Faultf(handlers.PurchaseUnknown, "There is no such purchase, or it was removed before")
	}
	for _, wrong := range []error{
		purchase.ErrInvalidReferrer, purchase.ErrInvalidAddress, purchase.ErrInvalidLife,
		purchase.ErrInvalidCount, purchase.ErrInvalidContent,
	} {
		if errors.Is(err, wrong) {
			return handlers.Faultf(handlers.Malformed, "%s", err)
		}
	}
	return err
}
