package purchase

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

// Errors on which callers decide.
var (
	// ErrUnknown says that there is no such purchase.
	ErrUnknown = errors.New("purchase is unknown")
	// ErrRevoked says that the purchase was taken back; it is an ErrUnknown too.
	ErrRevoked = fmt.Errorf("%w: it was revoked", ErrUnknown)

	// ErrExpired says that a purchase's life is over.
	ErrExpired = errors.New("purchase has expired")
	// ErrReferrerMissing says that a purchase has referrers and the request names none.
	ErrReferrerMissing = errors.New("referrer is missing")
	// ErrReferrerRefused says that no referrer of the purchase matches the request's.
	ErrReferrerRefused = errors.New("referrer is refused")
	// ErrAddressRefused says that a purchase is bound to other addresses.
	ErrAddressRefused = errors.New("address is refused")
	// ErrSpent says that all uses of a purchase are counted out.
	ErrSpent = errors.New("purchase is spent")

	// ErrInvalidReferrer says that a referrer is no regular expression (RE2), or out of bounds.
	ErrInvalidReferrer = errors.New("invalid referrer")
	// ErrInvalidAddress says that a text is neither an address nor a prefix.
	ErrInvalidAddress = errors.New("invalid address")
	// ErrInvalidLife says that a life is not more than nothing and at most MaxLife.
	ErrInvalidLife = errors.New("invalid life")
	// ErrInvalidCount says that a number of uses is negative.
	ErrInvalidCount = errors.New("invalid count")
	// ErrInvalidContent says that a purchase names no hash, or an extension that is none.
	ErrInvalidContent = errors.New("invalid content of a purchase")
)

// MaxLife is the longest life of a purchase, a hundred years.
const MaxLife = 36525 * 24 * time.Hour

// Purchase is the right to fetch one content for a while. One that a Book
// gives is shared and must not be changed.
type Purchase struct {
	Token    Token          `json:"-"`
	Hash     content.Hash   `json:"hash"`
	Ext      string         `json:"ext"`                // decides the type and name served
	Referrer []string       `json:"referrer,omitempty"` // RE2, one of which must match; none: every request passes
	IP       []netip.Prefix `json:"ip,omitempty"`       // who may use it; none: everyone
	Count    int64          `json:"count,omitempty"`    // uses, 0: any number
	Made     record.Time    `json:"made"`               // when it was made; content removed later is not found by it
	Expires  int64          `json:"expires"`            // milliseconds since 1970
	Revoked  bool           `json:"revoked,omitempty"`

	patterns []pattern
	version  record.Time // of the record it was made from
	until    int64       // the latest expiry among its records, 0: one never expires
}

// Spec is what a purchase is made from.
type Spec struct {
	Hash     content.Hash
	Ext      string        // without its dot
	Referrer []string      // at most 64, each of at most 1024 bytes; empty ones are left out
	IP       []string      // addresses and prefixes, at most 64; empty ones are left out
	Count    int64         // uses, 0: any number
	Life     time.Duration // from now, more than 0 and at most MaxLife
}

// Patch is what changes of a purchase.
type Patch struct {
	Life     *time.Duration // from now; nil: unchanged
	Referrer []string       // nil: unchanged; empty: none
	IP       []string       // nil: unchanged; empty: none
}

// ExpiresAt returns the time at which the purchase's life is over.
func (p *Purchase) ExpiresAt() time.Time { return time.UnixMilli(p.Expires) }

// Left returns what is left of the purchase's life, 0 where it is over.
func (p *Purchase) Left(now time.Time) time.Duration { return max(0, p.ExpiresAt().Sub(now)) }

// maxReferer is the longest Referer header, in bytes, that is matched; a
// longer one is refused. Browsers send at most this much (Referrer Policy, 8.3).
const maxReferer = 4 << 10

// Allows tells whether a request may use the purchase: by its time, its
// Referer header ("" for none) and its client's address. Errors: ErrExpired,
// ErrReferrerMissing, ErrReferrerRefused, ErrAddressRefused. It costs no lock
// and no allocation of its own. Uses are counted by Book.Use.
func (p *Purchase) Allows(now time.Time, referer string, client netip.Addr) error {
	if now.UnixMilli() >= p.Expires {
		return ErrExpired
	}
	if err := p.allowsReferer(referer); err != nil {
		return err
	}
	return p.allowsAddress(client)
}

func (p *Purchase) allowsReferer(referer string) error {
	if len(p.patterns) == 0 {
		return nil
	}
	if referer == "" {
		return ErrReferrerMissing
	}
	if len(referer) > maxReferer {
		return ErrReferrerRefused
	}
	for _, pattern := range p.patterns {
		if pattern.matches(referer) {
			return nil
		}
	}
	return ErrReferrerRefused
}

func (p *Purchase) allowsAddress(client netip.Addr) error {
	if len(p.IP) == 0 {
		return nil
	}
	client = plainAddr(client)
	for _, prefix := range p.IP {
		if prefix.Contains(client) {
			return nil
		}
	}
	return ErrAddressRefused
}

// newPurchase checks a Spec and makes a purchase of it, without its token.
func newPurchase(spec Spec, now time.Time, made record.Time) (*Purchase, error) {
	if spec.Hash.IsZero() {
		return nil, fmt.Errorf("%w: no hash", ErrInvalidContent)
	}
	ext, err := content.ParseExt(spec.Ext)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidContent, err)
	}
	if spec.Count < 0 {
		return nil, fmt.Errorf("%w: %d, use 0 for any number of uses", ErrInvalidCount, spec.Count)
	}
	p := &Purchase{Hash: spec.Hash, Ext: ext, Count: spec.Count, Made: made}
	if err := p.setReferrer(spec.Referrer); err != nil {
		return nil, err
	}
	if err := p.setIP(spec.IP); err != nil {
		return nil, err
	}
	if err := p.setLife(spec.Life, now); err != nil {
		return nil, err
	}
	return p, nil
}

// patched returns a copy of the purchase with a patch applied.
func (p *Purchase) patched(patch Patch, now time.Time) (*Purchase, error) {
	q := *p
	if patch.Referrer != nil {
		if err := q.setReferrer(patch.Referrer); err != nil {
			return nil, err
		}
	}
	if patch.IP != nil {
		if err := q.setIP(patch.IP); err != nil {
			return nil, err
		}
	}
	if patch.Life != nil {
		if err := q.setLife(*patch.Life, now); err != nil {
			return nil, err
		}
	}
	return &q, nil
}

func (p *Purchase) setReferrer(texts []string) error {
	kept, patterns, err := parseReferrers(texts)
	if err == nil {
		p.Referrer, p.patterns = kept, patterns
	}
	return err
}

func (p *Purchase) setIP(texts []string) error {
	prefixes, err := ParsePrefixes(texts)
	if err == nil {
		p.IP = prefixes
	}
	return err
}

func (p *Purchase) setLife(life time.Duration, now time.Time) error {
	if life < time.Millisecond || life > MaxLife {
		return fmt.Errorf("%w: %s, use 1 millisecond to %d days", ErrInvalidLife, life, MaxLife/(24*time.Hour))
	}
	p.Expires = now.Add(life).UnixMilli()
	return nil
}

// encode returns the purchase as a record's value.
func (p *Purchase) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // patterns are full of what HTML would have escaped
	if err := e.Encode(p); err != nil {
		return nil, fmt.Errorf("encoding a purchase: %w", err)
	}
	value := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if len(value) > record.MaxValue {
		return nil, fmt.Errorf("%w: all of them together have more than %d bytes", ErrInvalidReferrer, record.MaxValue)
	}
	return value, nil
}

// decode makes a purchase of a record. What another program wrote may hold
// patterns that don't compile here: those let nobody through.
func decode(r record.Record) (*Purchase, error) {
	p := &Purchase{}
	if err := json.Unmarshal(r.Value, p); err != nil {
		return nil, fmt.Errorf("reading the record of purchase %s: %w", Token(r.Key).Short(), err)
	}
	p.Token, p.version = Token(r.Key), r.Time
	p.Revoked = p.Revoked || r.Final
	if p.Expires == 0 {
		p.Expires = r.Expires
	}
	p.patterns = usablePatterns(p.Referrer)
	return p, nil
}
