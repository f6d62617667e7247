package purchase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// Engine keeps the records, and tells under which identity it writes: a book
// has to know which of a purchase's use counts is its own.
type Engine interface {
	record.Engine
	Source() string
}

// Options are the bounds of a Book. The zero Options are good for a node.
type Options struct {
	CacheSize int         // purchases kept in memory, 0: 65,536
	Clients   int         // clients of counted purchases remembered, 0: 262,144
	Logger    *zap.Logger // nil: no logs
}

// Defaults of Options.
const (
	defaultCacheSize = 1 << 16
	defaultClients   = 1 << 18
)

// Book is all purchases, as this node knows them. Its methods can be called at
// the same time; Find takes no lock where the purchase is in memory.
type Book struct {
	engine Engine
	minter *Minter
	clock  *record.Clock
	log    *zap.Logger
	cache  *record.Cache[*Purchase]
	load   func(context.Context, string) (*Purchase, bool, error)
	uses   *uses
	stop   []func()
}

// NewBook returns the book over an engine's records. Run counts its uses;
// Close ends its watching.
func NewBook(e Engine, minter *Minter, clock *record.Clock, opts Options) *Book {
	if opts.CacheSize == 0 {
		opts.CacheSize = defaultCacheSize
	}
	if opts.Clients == 0 {
		opts.Clients = defaultClients
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	b := &Book{
		engine: e, minter: minter, clock: clock, log: opts.Logger,
		cache: record.NewCache[*Purchase](opts.CacheSize),
		uses:  newUses(e.Source, clock, opts.Clients),
	}
	if e, ok := e.(ancestor); ok {
		b.uses.past = e.Past
	}
	b.load = b.read // bound once: a method value made for each Find would be an allocation
	b.stop = []func(){
		e.Watch(record.Purchase, b.purchasesChanged),
		e.Watch(record.Use, b.uses.changed),
	}
	return b
}

// Close ends the watching. The book must not be used afterwards.
func (b *Book) Close() {
	for _, stop := range b.stop {
		stop()
	}
	b.stop = nil
}

// countField is in the value of every purchase whose uses are bounded.
var countField = []byte(`"count":`)

func (b *Book) purchasesChanged(records []record.Record) {
	for _, r := range records {
		if r.Key == "" {
			b.cache.Clear()
			continue
		}
		b.cache.Invalidate(r.Key)
		if !r.Deleted && !r.Final && bytes.Contains(r.Value, countField) {
			b.uses.renew(Token(r.Key))
		}
	}
}

// Plausible tells whether a token may have been made in this cluster: its
// check characters are right and its date is not in the future. What is found
// is served without it; what is not is asked for elsewhere only with it.
func (b *Book) Plausible(t Token) bool {
	// A clock elsewhere may be ahead by the moment in which its day begins.
	return b.minter.Check(t) && !t.Date().After(b.clock.Wall().UTC().Add(time.Minute))
}

// Find returns a purchase, also one that has expired and is still kept:
// Allows tells. Errors: ErrUnknown, ErrRevoked (which is an ErrUnknown),
// record.ErrUnavailable.
func (b *Book) Find(ctx context.Context, t Token) (*Purchase, error) {
	if t == "" {
		return nil, ErrUnknown
	}
	p, err := b.cache.Get(ctx, string(t), b.load)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, ErrUnknown
	}
	if p.Revoked {
		return nil, ErrRevoked
	}
	return p, nil
}

// read makes a purchase of its records. That there is none is not kept in
// memory: guesses would push out what is asked for.
func (b *Book) read(ctx context.Context, key string) (*Purchase, bool, error) {
	versions, err := b.engine.Get(ctx, record.Purchase, key)
	if err != nil {
		return nil, false, fmt.Errorf("reading purchase %s: %w", Token(key).Short(), err)
	}
	r, ok := record.Merge(record.Purchase, versions)
	if !ok {
		return nil, false, nil
	}
	if r.Final { // whatever its value says
		return &Purchase{Token: Token(key), Revoked: true, version: r.Time}, true, nil
	}
	p, err := decode(r)
	if err != nil {
		return nil, false, err
	}
	p.until = record.LatestExpiry(versions)
	return p, true, nil
}

// attempts is how often a token is made anew, or a change tried again, where
// another was first.
const attempts = 8

// Make makes a purchase and keeps it. Errors: ErrInvalidContent,
// ErrInvalidReferrer, ErrInvalidAddress, ErrInvalidLife, ErrInvalidCount,
// record.ErrUnavailable.
func (b *Book) Make(ctx context.Context, spec Spec) (*Purchase, record.Ack, error) {
	p, err := newPurchase(spec, b.clock.Wall(), b.clock.Next())
	if err != nil {
		return nil, record.Ack{}, fmt.Errorf("making a purchase: %w", err)
	}
	value, err := p.encode()
	if err != nil {
		return nil, record.Ack{}, err
	}
	for range attempts {
		p.Token = b.minter.Mint()
		ack, err := b.engine.Update(ctx, record.Purchase, string(p.Token), record.IfAbsent(),
			record.Change{Value: value, Expires: p.Expires})
		if errors.Is(err, record.ErrConflict) {
			continue // this token was made before
		}
		if err != nil {
			return nil, record.Ack{}, fmt.Errorf("keeping a new purchase: %w", err)
		}
		p.version = ack.Time
		return p, ack, nil
	}
	return nil, record.Ack{}, fmt.Errorf("making a purchase: no unused token in %d attempts", attempts)
}

// Update changes a purchase, also one that has expired and is still kept.
// Errors: ErrUnknown, those of Make for what is changed, record.ErrUnavailable,
// and record.ErrConflict where others keep changing it.
func (b *Book) Update(ctx context.Context, t Token, patch Patch) (*Purchase, error) {
	var err error
	for range attempts {
		var p *Purchase
		p, err = b.update(ctx, t, patch)
		if !errors.Is(err, record.ErrConflict) {
			return p, err
		}
	}
	return nil, err
}

func (b *Book) update(ctx context.Context, t Token, patch Patch) (*Purchase, error) {
	old, err := b.Find(ctx, t)
	if err != nil {
		return nil, err
	}
	p, err := old.patched(patch, b.clock.Wall())
	if err != nil {
		return nil, fmt.Errorf("changing purchase %s: %w", t.Short(), err)
	}
	value, err := p.encode()
	if err != nil {
		return nil, err
	}
	// A shorter life must be known for as long as a longer one may be somewhere:
	// the version carries the latest expiry known, its value its own.
	until := int64(0)
	if old.until != 0 {
		until = max(old.until, p.Expires)
	}
	ack, err := b.engine.Update(ctx, record.Purchase, string(t), record.IfUnchanged(old.version),
		record.Change{Value: value, Expires: until})
	if err != nil {
		return nil, fmt.Errorf("changing purchase %s: %w", t.Short(), err)
	}
	p.version, p.until = ack.Time, until
	return p, nil
}

// Revoke takes a purchase back for good. Errors: ErrUnknown (also where it was
// revoked before), record.ErrUnavailable, and record.ErrConflict where others
// keep changing it.
func (b *Book) Revoke(ctx context.Context, t Token) error {
	var err error
	for range attempts {
		if err = b.revoke(ctx, t); !errors.Is(err, record.ErrConflict) {
			return err
		}
	}
	return err
}

func (b *Book) revoke(ctx context.Context, t Token) error {
	versions, err := b.engine.Get(ctx, record.Purchase, string(t))
	if err != nil {
		return fmt.Errorf("revoking purchase %s: %w", t.Short(), err)
	}
	r, ok := record.Merge(record.Purchase, versions)
	if !ok {
		return ErrUnknown
	}
	if r.Final {
		return ErrRevoked
	}
	// The value stays as it was, for who reads an export; the version carries
	// the latest expiry known, because it has to outlive all of them.
	_, err = b.engine.Update(ctx, record.Purchase, string(t), record.IfUnchanged(r.Time),
		record.Change{Value: r.Value, Expires: record.LatestExpiry(versions), Final: true})
	if err != nil {
		return fmt.Errorf("revoking purchase %s: %w", t.Short(), err)
	}
	return nil
}

// Renewed says that the engine goes on under another identity, because an old
// copy of its database was restored: what this node counted behind that copy is
// another's count from now on.
func (b *Book) Renewed() { b.uses.renewed() }

// ancestor is an engine that may go on under another identity.
type ancestor interface {
	// Past tells whether a version that another source wrote is of the engine's
	// own past: what it writes takes its place.
	Past(r record.Record) bool
}

// Flush forgets what is in memory of purchases, to be read again, and returns
// about how many there were. Nothing that is kept is lost.
func (b *Book) Flush() int { return b.cache.Clear() }

// Len returns about how many purchases are in memory.
func (b *Book) Len() int { return b.cache.Len() }
