package redisdb

import (
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/ooseio/oose/record"
)

const (
	tags          = 64   // hash tags, each with its own stream
	formatVersion = 1    // of the keys and what they hold
	streamLength  = 1000 // changes that a stream keeps at least
	inlineBytes   = 1024 // of records that a change carries; larger ones are read by who follows
)

// layout names the keys. docs/redis.md describes them for others.
type layout struct{ prefix string }

// tagOf returns the tag of all that is kept under a key of a topic.
func tagOf(topic record.Topic, key string) int {
	sum := crc32.ChecksumIEEE([]byte(topic))
	sum = crc32.Update(sum, crc32.IEEETable, []byte{':'})
	return int(crc32.Update(sum, crc32.IEEETable, []byte(key)) % tags)
}

// tagText is a tag as keys carry it: a Cluster keeps keys with the same one together.
func tagText(tag int) string { return fmt.Sprintf("{%02d}", tag) }

func (l layout) in(tag int, kind string) string { return l.prefix + ":" + tagText(tag) + ":" + kind }

func (l layout) format() string { return l.prefix + ":format" }

// records is a hash: member NUL source (without members: the source) to version.
func (l layout) records(topic record.Topic, key string) string {
	return l.in(tagOf(topic, key), "r:") + string(topic) + ":" + key
}

// changes is the stream of a tag's changes.
func (l layout) changes(tag int) string { return l.in(tag, "c") }

// heads is a hash: source to the last revision it wrote in this tag.
func (l layout) heads(tag int) string { return l.in(tag, "h") }

// due is a sorted set: what of this tag may be over when.
func (l layout) due(tag int) string { return l.in(tag, "x") }

// keys is a sorted set of the keys of a topic in this tag.
func (l layout) keys(tag int, topic record.Topic) string { return l.in(tag, "k:") + string(topic) }

// member is a sorted set of the keys that a member has a version under.
func (l layout) member(tag int, member string) string { return l.in(tag, "m:") + member }

// marker is written before a WAIT, so that there is something to wait for.
func (l layout) marker(tag int) string { return l.in(tag, "w") }

// fieldOf names the version of a member and source in the hash of its key.
func fieldOf(member, source string) string {
	if member == "" {
		return source
	}
	return member + "\x00" + source
}

func parseField(field string) (member, source string) {
	if member, source, ok := strings.Cut(field, "\x00"); ok {
		return member, source
	}
	return "", field
}

func groupKey(topic record.Topic, key string) string { return string(topic) + ":" + key }

func parseGroupKey(text string) (record.Topic, string, bool) {
	topic, key, ok := strings.Cut(text, ":")
	return record.Topic(topic), key, ok && record.CheckKey(record.Topic(topic), key) == nil
}
