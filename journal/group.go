package journal

import (
	"slices"
	"sort"

	"github.com/dgraph-io/badger/v4"

	"github.com/ooseio/oose/record"
)

type groupID struct {
	topic record.Topic
	key   string
}

// group is all versions under one key, in the order of (member, source).
type group struct {
	versions []record.Record
	changed  bool // versions is the batch's own copy
	partial  bool // versions are only those that this batch added
}

// load returns the group under a key as this batch left it.
func (b *batch) load(topic record.Topic, key string) (*group, error) {
	id := groupID{topic, key}
	g := b.groups[id]
	if g != nil && !g.partial {
		return g, nil
	}
	versions, ok := b.j.cache.Peek(cacheKey(topic, key))
	if !ok {
		if b.it == nil {
			b.it = b.view.NewIterator(badger.IteratorOptions{Prefix: []byte{recordKind}})
		}
		prefix := groupPrefix(topic, key)
		for b.it.Seek(prefix); b.it.ValidForPrefix(prefix); b.it.Next() {
			r, err := readRecord(b.it.Item())
			if err != nil {
				return nil, err
			}
			versions = append(versions, r)
		}
	}
	whole := &group{versions: versions}
	if g != nil {
		whole.own()
		for _, r := range g.versions {
			whole.insert(r)
		}
	}
	b.groups[id] = whole
	return whole, nil
}

// own makes the versions the batch's: others may hold those that were read.
func (g *group) own() {
	if !g.changed {
		g.versions, g.changed = slices.Clone(g.versions), true
	}
}

// member returns the versions of one member.
func (g *group) member(member string) []record.Record {
	from := sort.Search(len(g.versions), func(i int) bool { return g.versions[i].Member >= member })
	to := from
	for to < len(g.versions) && g.versions[to].Member == member {
		to++
	}
	return g.versions[from:to]
}

// find returns where the version of a member and source is, or would be.
func (g *group) find(member, source string) (int, bool) {
	i := sort.Search(len(g.versions), func(i int) bool {
		v := &g.versions[i]
		return v.Member > member || v.Member == member && v.Source >= source
	})
	return i, i < len(g.versions) && g.versions[i].Member == member && g.versions[i].Source == source
}

// insert puts a version in its place, instead of the one that its source had.
func (g *group) insert(r record.Record) {
	g.own()
	i, found := g.find(r.Member, r.Source)
	if found {
		g.versions[i] = r
		return
	}
	g.versions = slices.Insert(g.versions, i, r)
}
