package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ooseio/oose/record"
)

// The stream's format; the package's comment describes it.
const (
	streamMagic   = "OOSEJ\n"
	streamVersion = 1

	beginFrame   = 'b'
	recordsFrame = 'r'
	markFrame    = 'm'

	frameBytes    = 256 << 10 // a frame that has come so far takes no further record
	maxFrameBytes = 512 << 10

	startsOver = 1 // a flag of a begin frame
)

var (
	checksum    = crc32.MakeTable(crc32.Castagnoli)
	knownTopics = record.Topics()
)

// appendPreface begins a stream.
func appendPreface(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(b, streamMagic...), streamVersion)
}

// frame is one in the making.
type frame struct {
	kind    byte
	body    []byte
	records int
}

func (f *frame) full() bool { return f.records >= maxChanges || len(f.body) >= frameBytes }

// addRecord adds a version as it is in the database.
func (f *frame) addRecord(key []byte, source string, stored []byte) {
	identity := key[1 : len(key)-1-len(source)] // neither kind nor source
	f.body = append(binary.AppendUvarint(f.body, uint64(len(identity))), identity...)
	f.body = append(binary.AppendUvarint(f.body, uint64(len(stored))), stored...)
	f.records++
}

func (f *frame) appendTo(b []byte) []byte {
	b = append(f.appendHead(b), f.body...)
	return binary.BigEndian.AppendUint32(b, f.checksum())
}

func (f *frame) appendHead(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(1+len(f.body))), f.kind)
}

func (f *frame) checksum() uint32 {
	return crc32.Update(crc32.Checksum([]byte{f.kind}, checksum), checksum, f.body)
}

// begin says what a walk through a source is about to bring.
type begin struct {
	source  string
	over    bool   // everything from the beginning: what is not in it is gone
	since   uint64 // what follows is newer
	head    uint64 // the newest revision that the server has seen
	claim   uint64 // up to where it knew everything when it began
	dropped uint64 // the newest revision whose tombstone it no longer had
	leaps   leaps  // of the source, as far as the server knows
}

func (w begin) appendTo(b []byte) []byte {
	var flags byte
	if w.over {
		flags = startsOver
	}
	f := frame{kind: beginFrame, body: []byte{flags}}
	for _, n := range [...]uint64{w.since, w.head, w.claim, w.dropped} {
		f.body = binary.AppendUvarint(f.body, n)
	}
	f.body = append(w.leaps.appendTo(f.body), w.source...)
	return f.appendTo(b)
}

func decodeBegin(b []byte) (begin, error) {
	if len(b) == 0 || b[0]&^startsOver != 0 {
		return begin{}, fmt.Errorf("%w: flags of its beginning", ErrStream)
	}
	w := begin{over: b[0]&startsOver != 0}
	rest, err := numbers(b[1:], &w.since, &w.head, &w.claim, &w.dropped)
	if err != nil {
		return w, err
	}
	if w.leaps, rest, err = decodeLeaps(rest); err != nil {
		return w, fmt.Errorf("%w: leaps of its beginning", ErrStream)
	}
	w.source = string(rest)
	return w, nil
}

func (s status) appendTo(b []byte) []byte {
	f := frame{kind: markFrame}
	for _, n := range [...]uint64{s.claim, s.dropped, uint64(s.at)} {
		f.body = binary.AppendUvarint(f.body, n)
	}
	return f.appendTo(b)
}

func decodeMark(b []byte) (status, error) {
	var s status
	var at uint64
	rest, err := numbers(b, &s.claim, &s.dropped, &at)
	if err == nil && (len(rest) > 0 || at > 1<<62) {
		err = fmt.Errorf("%w: a mark of another form", ErrStream)
	}
	s.at = int64(at)
	return s, err
}

func numbers(b []byte, into ...*uint64) (rest []byte, err error) {
	for _, p := range into {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("%w: a number is cut", ErrStream)
		}
		*p, b = v, b[n:]
	}
	return b, nil
}

// decodeRecords reads the versions of a source. They must be in the order of
// their revisions, behind one.
func decodeRecords(b []byte, source string, behind uint64) ([]incoming, error) {
	var items []incoming
	for len(b) > 0 {
		if len(items) == maxChanges {
			return nil, fmt.Errorf("%w: more than %d records in a frame", ErrStream, maxChanges)
		}
		var identity, stored []byte
		var err error
		if identity, b, err = portion(b); err == nil {
			stored, b, err = portion(b)
		}
		if err != nil {
			return nil, err
		}
		r, err := decodeIdentity(identity)
		if err == nil {
			r.Source = source
			err = decodeRecord(&r, stored)
		}
		if err == nil {
			err = record.CheckRecord(r)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: a record of %s: %w", ErrStream, r.Topic, err)
		}
		if r.Revision <= behind {
			return nil, fmt.Errorf("%w: revision %d behind %d", ErrStream, r.Revision, behind)
		}
		behind = r.Revision
		if items == nil {
			items = make([]incoming, 0, min(maxChanges, 1+len(b)/(2+len(identity)+len(stored))))
		}
		items = append(items, makeIncoming(r))
	}
	return items, nil
}

func portion(b []byte) (part, rest []byte, err error) {
	n, width := binary.Uvarint(b)
	if width <= 0 || n > uint64(len(b)-width) {
		return nil, nil, fmt.Errorf("%w: a record is cut", ErrStream)
	}
	return b[width : width+int(n)], b[width+int(n):], nil
}

// decodeIdentity reads topic, key and member.
func decodeIdentity(b []byte) (record.Record, error) {
	var r record.Record
	i := bytes.IndexByte(b, 0)
	k := bytes.LastIndexByte(b, 0)
	if i < 0 || k == i || bytes.IndexByte(b[i+1:k], 0) >= 0 {
		return r, errKey
	}
	r.Topic = topicOf(b[:i])
	names := string(b[i+1:])
	r.Key, r.Member = names[:k-i-1], names[k-i:]
	return r, nil
}

// topicOf returns a topic without a string of its own where it is known.
func topicOf(b []byte) record.Topic {
	for _, topic := range knownTopics {
		if string(topic) == string(b) {
			return topic
		}
	}
	return record.Topic(b)
}

// frameReader reads frames. It holds at most one.
type frameReader struct {
	r    io.Reader
	head [4]byte
	body []byte
}

// preface reads a stream's first bytes.
func (f *frameReader) preface() error {
	var b [len(streamMagic) + 2]byte
	if _, err := io.ReadFull(f.r, b[:]); err != nil {
		return err
	}
	if string(b[:len(streamMagic)]) != streamMagic {
		return fmt.Errorf("%w: it begins with %.8q", ErrStream, b[:])
	}
	if v := binary.BigEndian.Uint16(b[len(streamMagic):]); v != streamVersion {
		return fmt.Errorf("%w: %w: the server speaks version %d and this node %d, run the same release on both",
			ErrStream, ErrVersion, v, streamVersion)
	}
	return nil
}

// next returns a frame's kind and body, which is good until the next call.
func (f *frameReader) next() (kind byte, body []byte, err error) {
	if _, err := io.ReadFull(f.r, f.head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(f.head[:])
	if length == 0 || length > maxFrameBytes {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes, at most %d", ErrStream, length, maxFrameBytes)
	}
	n := int(length) + crc32.Size
	if cap(f.body) < n {
		f.body = make([]byte, n)
	}
	b := f.body[:n]
	if _, err := io.ReadFull(f.r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	if crc32.Checksum(b[:n-crc32.Size], checksum) != binary.BigEndian.Uint32(b[n-crc32.Size:]) {
		return 0, nil, fmt.Errorf("%w: a frame does not match its checksum", ErrStream)
	}
	return b[0], b[1 : n-crc32.Size], nil
}
