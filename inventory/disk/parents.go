package disk

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"sync/atomic"
)

// MakeParents makes the folders of a path durably, the outermost first. That a
// folder is there does not say that it will be after a power failure: who made
// it may not have synced it yet, or have died before.
func (r *Root) MakeParents(rel string) error {
	for _, dir := range parents(rel) {
		if dir == Content || r.durable.has(dir) {
			continue // content is synced with the root's other folders
		}
		if err := r.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := r.SyncDir(DirOf(dir)); err != nil {
			return err
		}
		r.durable.add(dir)
	}
	return nil
}

// Enter moves a file to a path whose folders it makes, durably but for the last
// step: the caller syncs the folder. Folders that were there once, and that
// somebody has taken away since, are made again.
func (r *Root) Enter(from, to string) error {
	enter := func() error {
		if err := r.MakeParents(to); err != nil {
			return err
		}
		return r.Rename(from, to)
	}
	err := enter()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, dir := range parents(to) {
		r.durable.remove(dir)
	}
	return enter()
}

// durable remembers the folders content/<ab> and content/<ab>/<cd> whose names
// this process has synced.
type durable [(pairs + pairs*pairs) / 32]atomic.Uint32

// pairs is how many names of two hex digits there are.
const pairs = 256

func (d *durable) has(dir string) bool {
	i, ok := bitOf(dir)
	return ok && d[i/32].Load()&(1<<(i%32)) != 0
}

func (d *durable) add(dir string) {
	if i, ok := bitOf(dir); ok {
		d[i/32].Or(1 << (i % 32))
	}
}

func (d *durable) remove(dir string) {
	if i, ok := bitOf(dir); ok {
		d[i/32].And(^uint32(1 << (i % 32)))
	}
}

// bitOf numbers the folders that are remembered.
func bitOf(dir string) (int, bool) {
	const ab, cd = len(Content) + 1, len(Content) + 4
	if len(dir) < ab || dir[:ab] != Content+"/" {
		return 0, false
	}
	var b [2]byte
	switch len(dir) {
	case ab + 2:
		_, err := hex.Decode(b[:1], []byte(dir[ab:]))
		return int(b[0]), err == nil
	case cd + 2:
		_, err := hex.Decode(b[:1], []byte(dir[ab:ab+2]))
		_, err2 := hex.Decode(b[1:], []byte(dir[cd:]))
		return pairs + int(b[0])*pairs + int(b[1]), err == nil && err2 == nil
	}
	return 0, false
}
