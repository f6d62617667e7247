package record

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds of one update: a commit must hold it whole.
const (
	MaxChanges     = 100       // changes of one update
	MaxUpdateBytes = 512 << 10 // bytes of its keys, members and values together
)

// Check tells whether engines take an update: the topic is known, key and
// member are text within bounds and without NUL, inventory alone has members,
// no member comes twice, and the values are within bounds. Its error is ErrInvalid.
func Check(topic Topic, key string, changes []Change) error {
	if err := CheckKey(topic, key); err != nil {
		return err
	}
	if len(changes) == 0 || len(changes) > MaxChanges {
		return fmt.Errorf("%w: %d changes in one update, want 1 to %d", ErrInvalid, len(changes), MaxChanges)
	}
	total := 0
	members := make(map[string]bool, len(changes))
	for _, c := range changes {
		if err := checkMember(topic, c.Member); err != nil {
			return err
		}
		if members[c.Member] {
			return fmt.Errorf("%w: member %.40q comes twice in one update", ErrInvalid, c.Member)
		}
		members[c.Member] = true
		if err := checkValue(c.Value, c.Delete, c.Expires); err != nil {
			return err
		}
		total += len(key) + len(c.Member) + len(c.Value)
	}
	if total > MaxUpdateBytes {
		return fmt.Errorf("%w: update of %d bytes, at most %d", ErrInvalid, total, MaxUpdateBytes)
	}
	return nil
}

// CheckKey is the part of Check that needs no changes.
func CheckKey(topic Topic, key string) error {
	if !Known(topic) {
		return fmt.Errorf("%w: unknown topic %.40q", ErrInvalid, string(topic))
	}
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes, want 1 to %d", ErrInvalid, len(key), MaxKey)
	}
	if strings.IndexByte(key, 0) >= 0 {
		return fmt.Errorf("%w: key holds a NUL", ErrInvalid)
	}
	return nil
}

func checkMember(topic Topic, member string) error {
	switch {
	case topic != Inventory && member != "":
		return fmt.Errorf("%w: topic %s has no members", ErrInvalid, topic)
	case topic == Inventory && member == "":
		return fmt.Errorf("%w: a record of the inventory needs a member", ErrInvalid)
	case len(member) > MaxKey:
		return fmt.Errorf("%w: member of %d bytes, at most %d", ErrInvalid, len(member), MaxKey)
	case strings.IndexByte(member, 0) >= 0:
		return fmt.Errorf("%w: member holds a NUL", ErrInvalid)
	}
	return nil
}

func checkValue(value []byte, deleted bool, expires int64) error {
	switch {
	case len(value) > MaxValue:
		return fmt.Errorf("%w: value of %d bytes, at most %d", ErrInvalid, len(value), MaxValue)
	case deleted && len(value) > 0:
		return fmt.Errorf("%w: a tombstone has no value", ErrInvalid)
	case expires < 0:
		return fmt.Errorf("%w: expiry %d is before 1970", ErrInvalid, expires)
	}
	return nil
}

// CheckRecord tells whether engines take a record that another source wrote.
// Its error is ErrInvalid.
func CheckRecord(r Record) error {
	if err := CheckKey(r.Topic, r.Key); err != nil {
		return err
	}
	if err := checkMember(r.Topic, r.Member); err != nil {
		return err
	}
	if err := checkValue(r.Value, r.Deleted, r.Expires); err != nil {
		return err
	}
	switch {
	case r.Source == "" || len(r.Source) > MaxKey || strings.IndexByte(r.Source, 0) >= 0:
		return fmt.Errorf("%w: source %.40q", ErrInvalid, r.Source)
	case r.Revision == 0 || r.Time == 0 || r.Time > maxTime:
		return fmt.Errorf("%w: revision %d, time %d", ErrInvalid, r.Revision, r.Time)
	}
	return nil
}

// CheckDrop tells whether engines drop a version: it is one of the inventory.
// What other topics remember keeps things from coming back. Its error is ErrInvalid.
func CheckDrop(r Record) error {
	if r.Topic != Inventory {
		return fmt.Errorf("%w: records of %.40q are not dropped", ErrInvalid, string(r.Topic))
	}
	return CheckRecord(r)
}

// maxTime leaves room above every foreign stamp for what must be later than it.
const maxTime = Time(1) << 63

// Known tells whether topic is one of Topics.
func Known(topic Topic) bool { return slices.Contains(topics[:], topic) }
