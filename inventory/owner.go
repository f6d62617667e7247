package inventory

import (
	"slices"

	"github.com/ooseio/oose/record"
)

// Owners tells whose word counts about a store: the source under which its
// present owner writes, and whether that has written the store's whole
// inventory. While it has not, the versions of all sources are merged; then
// those of others are passed over. A store that it knows nothing of is "",
// false; one that was given up for good is "", true. It must be quick, must not
// call the index or a volume, and can be called at any time.
type Owners func(store string) (source string, complete bool)

// SetOwners has the index pass over what others than a store's present owner
// wrote about it; nil: over nothing. Where what owners says of a store changes,
// Forget must be called after that.
func (x *Index) SetOwners(owners Owners) { x.owners.Store(&owners) }

func (x *Index) whose() Owners {
	if owners := x.owners.Load(); owners != nil {
		return *owners
	}
	return nil
}

// counting returns the versions under one key that count, in their order.
func (o Owners) counting(versions []record.Record) []record.Record {
	if o == nil {
		return versions
	}
	source, complete, all := "", false, true
	var kept []record.Record // once all is false
	for i, r := range versions {
		if i == 0 || r.Member != versions[i-1].Member {
			source, complete = o(r.Member)
		}
		switch {
		case complete && r.Source != source:
			if all {
				all, kept = false, slices.Clone(versions[:i])
			}
		case !all:
			kept = append(kept, r)
		}
	}
	if all {
		return versions
	}
	return kept
}

// source is under which this volume's engine writes, "" where nobody says.
func (v *Volume) source() string {
	if source := v.cfg.Load().Source; source != nil {
		return source()
	}
	return ""
}

// whose is by whose word the volume goes about itself: by its own alone once
// that is complete. While another owner is named, which this volume may not
// know yet, everybody's counts.
func (v *Volume) whose() Owners {
	source, owner := v.source(), v.cfg.Load().Owner
	if source == "" || owner == nil {
		return nil
	}
	if of, complete := owner(v.ID()); !complete || of != source {
		return nil
	}
	return func(string) (string, bool) { return source, true }
}
