package heartbeat

import (
	"slices"

	"github.com/ooseio/oose/record"
)

// versions keeps, by key, the latest version of each source.
type versions map[string][]record.Record

// take takes in a record, in whatever order they come.
func (v versions) take(rec record.Record) {
	if rec.Source == "" { // all versions of it are gone
		delete(v, rec.Key)
		return
	}
	known := v[rec.Key]
	i := slices.IndexFunc(known, func(old record.Record) bool { return old.Source == rec.Source })
	switch {
	case i < 0:
		v[rec.Key] = append(known, rec)
	case rec.Revision >= known[i].Revision:
		known[i] = rec
	}
}
