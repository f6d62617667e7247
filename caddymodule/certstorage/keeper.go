package certstorage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// Keeper keeps certificates in the engine of the node, with a copy of all of
// them in a folder. It is certmagic's storage. Its methods can be called at the
// same time, also before a node is open and after it has closed: then the copy
// answers, and what is stored goes into the engine when there is one.
//
// Of two values the newer one wins, but for one that was made before the engine
// could be asked whether there is one: it yields to what the cluster has.
//
// Locks hold on all nodes where the engine has locks of that kind (see Locker);
// while such an engine is away, nobody gets one. Where it has none, a lock is a
// record with a lease, and as good as the replication of records: among nodes
// that reach one another it holds; two that are cut off from one another may
// both get it. Both may then ask for a certificate of the same name, which does
// no harm but may meet the issuer's rate limits, and the later one wins when
// they meet again.
type Keeper struct {
	log   *zap.Logger
	local *local
	locks locks

	mu       sync.Mutex // guards what follows
	engine   record.Engine
	attached int
	stop     func()          // ends following the engine, and waits
	opened   chan struct{}   // closed once there was an engine
	synced   bool            // copy and engine agree, but for what is pending
	pending  map[string]bool // known once synced
	dirty    map[string]bool // records' keys that changed in the engine
	missed   bool            // ... and others that nobody named
	wake     chan struct{}
}

// NewKeeper returns a keeper whose copy is in a folder, which is made when there
// is something to write.
func NewKeeper(folder string, log *zap.Logger) *Keeper {
	k := &Keeper{
		log: log, local: openLocal(folder, log),
		opened: make(chan struct{}), wake: make(chan struct{}, 1),
		pending: make(map[string]bool), dirty: make(map[string]bool),
	}
	k.locks.init(k)
	return k
}

// String names the storage in logs.
func (k *Keeper) String() string { return "oose:" + k.local.dir }

// using returns the engine, nil where there is none, and whether it alone can
// tell of a key.
func (k *Keeper) using(key string) (e record.Engine, alone bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.engine, k.synced && !k.pending[key]
}

// Store keeps a value under a key.
func (k *Keeper) Store(ctx context.Context, key string, value []byte) error {
	key = clean(key)
	if key == "" {
		return fmt.Errorf("storing a certificate: %w: it has no key", record.ErrInvalid)
	}
	text, err := encode(key, value)
	if err != nil {
		return err
	}
	stored, err := k.tell(ctx, key, record.Change{Value: text})
	if err != nil {
		return fmt.Errorf("storing %.200q: %w", key, err)
	}
	e := entry{Key: key, Value: value, Time: stored}
	if stored == 0 {
		return k.putPending(e)
	}
	k.settle(key, k.local.put(key, func(old entry, ok bool) (entry, bool) {
		return e, !ok || old.Pending || old.Time < e.Time
	}))
	return nil
}

// tell writes to the engine. It returns 0 where there is none, or it is away.
func (k *Keeper) tell(ctx context.Context, key string, change record.Change) (record.Time, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	engine, _ := k.using(key)
	if engine == nil {
		return 0, nil
	}
	ack, err := engine.Update(ctx, record.Certificate, recordKey(key), record.Condition{}, change)
	if errors.Is(err, record.ErrUnavailable) {
		k.log.Warn("the records are away: keeping a certificate here until they are back", zap.String("key", key), zap.Error(err))
		return 0, nil
	}
	return ack.Time, err
}

// putPending keeps what the engine is to be told later.
func (k *Keeper) putPending(e entry) error {
	e.Pending = true
	k.mu.Lock()
	k.pending[e.Key] = true
	k.mu.Unlock()
	err := k.local.put(e.Key, func(old entry, ok bool) (entry, bool) {
		e.Blind = !ok || old.Blind
		e.Time = max(record.TimeOf(time.Now()), old.Time+1)
		return e, true
	})
	k.nudge()
	return err
}

// settle says that a key is in the engine and, but for err, in the copy.
func (k *Keeper) settle(key string, err error) {
	if err != nil {
		k.log.Warn("the local copy of a certificate could not be written", zap.String("key", key), zap.Error(err))
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.pending, key)
}

// Load returns the value under a key.
func (k *Keeper) Load(ctx context.Context, key string) ([]byte, error) {
	e, err := k.find(ctx, clean(key))
	if err != nil {
		return nil, fmt.Errorf("loading %.200q: %w", key, err)
	}
	return e.Value, nil
}

// find returns what is under a key; fs.ErrNotExist where nothing is.
func (k *Keeper) find(ctx context.Context, key string) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	engine, alone := k.using(key)
	var kept verdict
	if engine != nil {
		versions, err := engine.Get(ctx, record.Certificate, recordKey(key))
		if err == nil {
			kept, err = judge(versions)
		}
		if errors.Is(err, record.ErrUnavailable) {
			alone = false
		} else if err != nil {
			return entry{}, err
		}
	}
	e := kept.entry
	if here, ok := k.local.get(key); ok && !alone && kept.yieldsTo(here) {
		e = here
	}
	if e.Key == "" || e.Deleted {
		return entry{}, fs.ErrNotExist
	}
	return e, nil
}

// verdict is what the engine says of a key.
type verdict struct {
	entry      // the live value, or Deleted with the time of the tombstone
	known bool // there is a version
}

func judge(versions []record.Record) (verdict, error) {
	if len(versions) == 0 {
		return verdict{}, nil
	}
	r, live := record.Merge(record.Certificate, versions)
	v := verdict{known: true, entry: entry{Time: r.Time, Deleted: !live}}
	if !live {
		return v, nil
	}
	var err error
	if v.Key, v.Value, err = decode(r); err != nil {
		return verdict{}, fmt.Errorf("reading a record: %w", err)
	}
	if v.Value == nil {
		v.Value = []byte{}
	}
	return v, nil
}

// yieldsTo tells whether what the copy has is what counts.
func (v verdict) yieldsTo(here entry) bool {
	switch {
	case !v.known:
		return true
	case here.Blind && !v.Deleted:
		return false
	}
	return here.Time > v.Time
}

// Delete removes a key and all keys below it.
func (k *Keeper) Delete(ctx context.Context, key string) error {
	key = clean(key)
	list, away, err := k.entries(ctx, key)
	if err != nil {
		return fmt.Errorf("deleting %.200q: %w", key, err)
	}
	if away && key != "" {
		list[key] = entry{} // the engine may have it
	}
	for _, each := range slices.Sorted(maps.Keys(list)) {
		if err := k.remove(ctx, each); err != nil {
			return fmt.Errorf("deleting %.200q: %w", each, err)
		}
	}
	return nil
}

func (k *Keeper) remove(ctx context.Context, key string) error {
	stored, err := k.tell(ctx, key, record.Change{Delete: true})
	if err != nil {
		return err
	}
	if stored == 0 {
		return k.putPending(entry{Key: key, Deleted: true})
	}
	k.settle(key, k.local.remove(key, func(old entry) bool { return old.Pending || old.Time < stored }))
	return nil
}

// Exists tells whether a key has a value, or is a folder of keys.
func (k *Keeper) Exists(ctx context.Context, key string) bool {
	_, err := k.Stat(ctx, key)
	return err == nil
}

// List returns the keys below a path, sorted, with the folders that lead to
// them; without recursive only what is directly in it. A path with nothing
// below it, and without a value, is fs.ErrNotExist, but for the root.
func (k *Keeper) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	prefix := clean(path)
	list, _, err := k.entries(ctx, prefix)
	if err == nil && len(list) == 0 && prefix != "" {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("listing %.200q: %w", path, err)
	}
	return slices.Sorted(maps.Keys(children(list, prefix, recursive))), nil
}

// Stat tells about a key.
func (k *Keeper) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	at := clean(key)
	e, err := k.find(ctx, at)
	if err == nil {
		return certmagic.KeyInfo{
			Key: key, Modified: time.UnixMilli(e.Time.Milli()), Size: int64(len(e.Value)), IsTerminal: true,
		}, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		var list map[string]entry
		if list, _, err = k.entries(ctx, at); err == nil && len(list) == 0 && at != "" {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		return certmagic.KeyInfo{}, fmt.Errorf("looking at %.200q: %w", key, err)
	}
	return certmagic.KeyInfo{Key: key}, nil
}

// entries returns what is live under a key and below it, without the values,
// and whether the engine is away.
func (k *Keeper) entries(ctx context.Context, prefix string) (live map[string]entry, away bool, err error) {
	k.mu.Lock()
	engine, alone := k.engine, k.synced && len(k.pending) == 0
	k.mu.Unlock()
	list := make(map[string]verdict) // by the records' keys
	if engine != nil {
		if list, err = k.listed(ctx, engine, prefix); errors.Is(err, record.ErrUnavailable) {
			list, away, err = make(map[string]verdict), true, nil
		}
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, false, err
	}
	if !alone || away {
		here, err := k.local.all()
		if err != nil {
			return nil, false, err
		}
		for key, e := range here {
			if (key == prefix || under(key, prefix)) && list[recordKey(key)].yieldsTo(e) {
				list[recordKey(key)] = verdict{entry: e, known: true}
			}
		}
	}
	live = make(map[string]entry, len(list))
	for _, v := range list {
		if !v.Deleted {
			live[v.Key] = v.entry
		}
	}
	return live, away, nil
}

// listed returns what the engine says of a key and those below it, by the
// records' keys.
func (k *Keeper) listed(ctx context.Context, e record.Engine, prefix string) (map[string]verdict, error) {
	// Hashed keys are not in the order of what they stand for. There are few.
	from := []string{hashedMark}
	if prefix == "" {
		from = []string{""}
	} else if recordKey(prefix) == prefix {
		from = append(from, prefix)
	}
	list := make(map[string]verdict)
	for _, start := range from {
		err := eachGroup(ctx, e, start, func(at string, versions []record.Record) {
			v, err := judge(versions)
			if err != nil {
				k.log.Warn("reading a certificate's record", zap.Error(err))
				return
			}
			if key := v.Key; v.Deleted || key == prefix || under(key, prefix) {
				v.Value = nil
				list[at] = v
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// eachGroup hands on the versions under each key that begins with prefix.
func eachGroup(ctx context.Context, e record.Engine, prefix string, f func(key string, versions []record.Record)) error {
	var group []record.Record
	for r, err := range e.List(ctx, record.Certificate, record.ByKey, prefix, "") {
		if err != nil {
			return fmt.Errorf("listing the certificates: %w", err)
		}
		if strings.HasPrefix(r.Key, leaseMark) {
			continue
		}
		if len(group) > 0 && group[0].Key != r.Key {
			f(group[0].Key, group)
			group = nil
		}
		group = append(group, r)
	}
	if len(group) > 0 {
		f(group[0].Key, group)
	}
	return nil
}

// Interface guards
var (
	_ certmagic.Storage   = (*Keeper)(nil)
	_ certmagic.TryLocker = (*Keeper)(nil)
)
