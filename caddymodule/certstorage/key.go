package certstorage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/ooseio/oose/record"
)

// Records of the topic certificate have the key that certmagic gives. Keys that
// can't be a record's, and what is not a value of certmagic's, are told apart by
// a first byte that is control.
const (
	mark       = "\x01"
	hashedMark = mark + "h" // and the SHA-256 of the key, which stands in the value
	leaseMark  = mark + "l" // and the SHA-256 of the lock's name
)

// maxValue is the largest value in bytes: a record holds it in base64, with its
// key beside it.
const maxValue = 43 << 10

// ErrTooLarge says that a value does not fit into a record.
var ErrTooLarge = errors.New("the value is too large")

var errValue = errors.New("the record is no certificate's")

// maxKey is the longest key in bytes.
const maxKey = 4 << 10

// content is the value of a record.
type content struct {
	Key   []byte `json:"key,omitempty"` // where the record's key has only its hash
	Value []byte `json:"value"`
}

// clean brings a key into its one form: without slashes at the ends, without
// empty components, and without dots that lead elsewhere. The root is "".
func clean(key string) string {
	return strings.TrimPrefix(path.Clean("/"+key), "/")
}

// recordKey returns the key of the record that has the value of a clean key.
func recordKey(key string) string {
	if record.CheckKey(record.Certificate, key) == nil && !strings.HasPrefix(key, mark) && utf8.ValidString(key) {
		return key
	}
	return hashedMark + digest(key)
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// encode makes the value of a record.
func encode(key string, value []byte) ([]byte, error) {
	if len(value) > maxValue {
		return nil, fmt.Errorf("storing %.200q: %w: it has %d bytes, at most %d fit", key, ErrTooLarge, len(value), maxValue)
	}
	if len(key) > maxKey {
		return nil, fmt.Errorf("storing %.200q: %w: its key has %d bytes, at most %d fit", key, ErrTooLarge, len(key), maxKey)
	}
	c := content{Value: value}
	if recordKey(key) != key {
		c.Key = []byte(key)
	}
	return json.Marshal(c)
}

// decode returns the key and the value that a record has.
func decode(r record.Record) (key string, value []byte, err error) {
	var c content
	if err := json.Unmarshal(r.Value, &c); err != nil {
		return "", nil, fmt.Errorf("%w: %w", errValue, err)
	}
	key = r.Key
	if strings.HasPrefix(r.Key, hashedMark) {
		key = string(c.Key)
	}
	if recordKey(key) != r.Key {
		return "", nil, fmt.Errorf("%w: it is under another's key", errValue)
	}
	return key, c.Value, nil
}

// under tells whether a key is below a prefix of whole components. Everything
// is below the root.
func under(key, prefix string) bool {
	return prefix == "" || strings.HasPrefix(key, prefix) && strings.HasPrefix(key[len(prefix):], "/")
}

// children lists what List answers: the keys below prefix, the folders that
// lead to them, and not recursively only the first component of each.
func children(keys map[string]entry, prefix string, recursive bool) map[string]bool {
	list := make(map[string]bool)
	for key := range keys {
		if !under(key, prefix) {
			continue
		}
		rest := strings.TrimPrefix(strings.TrimPrefix(key, prefix), "/")
		at := prefix
		for part := range strings.SplitSeq(rest, "/") {
			at = path.Join(at, part)
			list[at] = true
			if !recursive {
				break
			}
		}
	}
	return list
}
