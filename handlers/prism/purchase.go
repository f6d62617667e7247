package prism

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

// purchaseAnswer tells a purchase. That some numbers and lists are strings is
// how OOSE 2.x has it.
type purchaseAnswer struct {
	Token          purchase.Token `json:"token"`
	Hash           content.Hash   `json:"hash"`
	Ext            string         `json:"ext"`
	Referrer       string         `json:"referrer"`       // joined by commas
	ExpirationDate string         `json:"expirationDate"` // milliseconds since 1970
	IP             []string       `json:"ip,omitempty"`
	Count          int64          `json:"count,omitempty"`
	URL            string         `json:"url,omitempty"`
}

func (h *Handler) answerPurchase(p *purchase.Purchase) purchaseAnswer {
	a := purchaseAnswer{
		Token: p.Token, Hash: p.Hash, Ext: p.Ext, Referrer: strings.Join(p.Referrer, ","),
		ExpirationDate: strconv.FormatInt(p.Expires, 10), Count: p.Count,
	}
	for _, prefix := range p.IP {
		if prefix.IsSingleIP() {
			a.IP = append(a.IP, prefix.Addr().String())
		} else {
			a.IP = append(a.IP, prefix.String())
		}
	}
	if h.set.URL != nil {
		if base := strings.TrimSuffix(h.set.URL(), "/"); base != "" {
			a.URL = base + "/" + string(p.Token) + "/" + fileName(p.Ext) + "." + p.Ext
		}
	}
	return a
}

// fileName is the name in a link that nobody named.
func fileName(ext string) string {
	if content.IsAudioVideo(ext) {
		return "video"
	}
	return "file"
}

func (h *Handler) purchase(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	var in struct {
		handlers.HashField
		Ext      string           `json:"ext"`
		Referrer handlers.Strings `json:"referrer"`
		IP       handlers.Strings `json:"ip"`
		Count    handlers.Int     `json:"count"`
		Life     handlers.Int     `json:"life"`
	}
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	hash, err := content.ParseHash(in.Text())
	if err != nil {
		return nil, handlers.Faultf(handlers.InvalidPurchase, "Invalid HASH passed for purchase").Because(err)
	}
	life, err := h.life(in.Life)
	if err != nil {
		return nil, err
	}
	placement, err := h.held(r.Context(), hash)
	if err != nil {
		return nil, err
	}
	if in.Ext == "" {
		in.Ext = placement.Clones[0].Ext
	}
	p, ack, err := h.Book.Make(r.Context(), purchase.Spec{
		Hash: hash, Ext: in.Ext, Referrer: in.Referrer, IP: in.IP, Count: in.Count.Value, Life: life,
	})
	if err != nil {
		return nil, err
	}
	w.Header().Set(durability, strconv.Itoa(max(1, h.confirm(r.Context(), ack).Copies)))
	return h.answerPurchase(p), nil
}

// confirmTime is how long a new purchase waits for a second copy.
const confirmTime = 250 * time.Millisecond

// confirm waits until a purchase is durable elsewhere too, for a moment: one
// that only this node has would be lost with it, and its buyer is told so.
func (h *Handler) confirm(ctx context.Context, ack record.Ack) record.Ack {
	if h.Confirm == nil || ack.Copies > 1 {
		return ack
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	return h.Confirm(ctx, ack)
}

// held returns where a content is. One that nobody holds is a Fault.
func (h *Handler) held(ctx context.Context, hash content.Hash) (*inventory.Placement, error) {
	placement, err := h.find(ctx, hash)
	switch {
	case err != nil:
		return nil, err
	case placement.Blocked:
		return nil, inventory.ErrBlocked
	case len(placement.Clones) > 0:
		return placement, nil
	}
	return nil, h.nobodyHolds(placement, notFound)
}

// life reads a life in milliseconds; none, and 0, mean the default.
func (h *Handler) life(ms handlers.Int) (time.Duration, error) {
	if ms.Value == 0 {
		return h.set.Life, nil
	}
	if ms.Value < 0 || ms.Value > int64(purchase.MaxLife/time.Millisecond) {
		return 0, handlers.Faultf(handlers.Malformed, `"life" must be 1 to %d milliseconds`, purchase.MaxLife/time.Millisecond)
	}
	return time.Duration(ms.Value) * time.Millisecond, nil
}

// tokenField is the token of a request that is about one purchase.
type tokenField struct {
	Token string `json:"token"`
}

func (h *Handler) removePurchase(w http.ResponseWriter, r *http.Request, c caller) (any, error) {
	var in tokenField
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	token, err := purchase.ParseToken(in.Token)
	if err != nil {
		return nil, err
	}
	entry := handlers.AuditPurchase(r.Context(), h.Book, token)
	if err := h.Book.Revoke(r.Context(), token); err != nil {
		return nil, err
	}
	h.audit(w, r, c, entry)
	return map[string]any{"token": token, "count": 1, "success": "Purchase removed"}, nil
}

func (h *Handler) findPurchase(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	var in tokenField
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	p, err := h.findToken(r.Context(), in.Token)
	if err != nil {
		return nil, err
	}
	return h.answerPurchase(p), nil
}

// findToken returns a purchase that is there, also one whose life is over. Removing
// a content ends its purchases, also where it was uploaded again since.
func (h *Handler) findToken(ctx context.Context, text string) (*purchase.Purchase, error) {
	token, err := purchase.ParseToken(text)
	if err != nil {
		return nil, err
	}
	p, err := h.Book.Find(ctx, token)
	if err != nil {
		return nil, err
	}
	placement, err := h.Index.Find(ctx, p.Hash)
	if err != nil {
		return nil, err
	}
	if placement.Removed > p.Made {
		return nil, purchase.ErrUnknown
	}
	return p, nil
}

func (h *Handler) updatePurchase(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	var in struct {
		tokenField
		Life     handlers.Int     `json:"life"`
		Referrer handlers.Strings `json:"referrer"`
		IP       handlers.Strings `json:"ip"`
	}
	if err := handlers.ReadJSON(w, r, &in); err != nil {
		return nil, err
	}
	p, err := h.findToken(r.Context(), in.Token)
	if err != nil {
		return nil, err
	}
	patch := purchase.Patch{Referrer: in.Referrer, IP: in.IP}
	if in.Life.Set {
		life, err := h.life(in.Life)
		if err != nil {
			return nil, err
		}
		patch.Life = &life
	}
	if p, err = h.Book.Update(r.Context(), p.Token, patch); err != nil {
		return nil, err
	}
	return h.answerPurchase(p), nil
}
