package purchase

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/record"
)

// ErrInvalidToken says that a text does not have a token's shape.
var ErrInvalidToken = errors.New("invalid token")

// They are made once: every path that is no token's meets one of them.
var (
	errTokenLength    = fmt.Errorf("%w: it does not have 20 characters", ErrInvalidToken)
	errTokenHead      = fmt.Errorf("%w: it does not begin with a zone and a day", ErrInvalidToken)
	errTokenCharacter = fmt.Errorf("%w: a character is neither letter nor digit", ErrInvalidToken)
)

// The parts of a token: zone, date (YYYYMMDD, UTC), random characters, check
// characters.
const (
	tokenLen    = 20
	dateStart   = 1
	randomStart = dateStart + 8
	checkStart  = tokenLen - 2
	randomLen   = checkStart - randomStart
)

// alphabet is what random and check characters are taken from.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Token is the name of a purchase, and a secret: who knows it may fetch the
// content. Write Short into logs and messages, never the whole.
type Token string

// ParseToken returns s as a Token where it has the shape of one: 20
// characters, of which the first is the zone (a-z, 0-9), the next eight a day
// of the calendar from the year 2000 on, and the others A-Z, a-z and 0-9. It
// does not say that such a purchase exists. Its error is ErrInvalidToken.
func ParseToken(s string) (Token, error) {
	if len(s) != tokenLen {
		return "", errTokenLength
	}
	if !validZone(s[0]) || !validDay(s[dateStart:randomStart]) {
		return "", errTokenHead
	}
	for i := randomStart; i < tokenLen; i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return "", errTokenCharacter
		}
	}
	return Token(s), nil
}

func validZone(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// validDay tells whether s is YYYYMMDD of a day that exists.
func validDay(s string) bool {
	var n [8]int
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n[i] = int(s[i] - '0')
	}
	year, month, day := n[0]*1000+n[1]*100+n[2]*10+n[3], n[4]*10+n[5], n[6]*10+n[7]
	if year < 2000 || month < 1 || month > 12 || day < 1 {
		return false
	}
	// Day 0 of the next month is the last one of this.
	return day <= time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// Short returns what a log may show: the zone and the date, and 6 digits of
// the token's SHA-256, by which two tokens can be told apart.
func (t Token) Short() string {
	sum := sha256.Sum256([]byte(t))
	return string(t[:min(len(t), randomStart)]) + "~" + hex.EncodeToString(sum[:3])
}

// Zone returns the character of the zone in which the token was made, 0 where
// there is none.
func (t Token) Zone() byte {
	if t == "" {
		return 0
	}
	return t[0]
}

// Date returns the day (UTC) on which the token was made, the zero Time where
// it holds none.
func (t Token) Date() time.Time {
	if len(t) != tokenLen {
		return time.Time{}
	}
	day, err := time.Parse("20060102", string(t[dateStart:randomStart]))
	if err != nil {
		return time.Time{}
	}
	return day
}

// checkInfo names what the key derived from a cluster secret is for.
const checkInfo = "oose purchase token check"

// CheckKey derives the key of the check characters from the cluster secret,
// by HKDF with SHA-256 (RFC 5869): all nodes of a cluster get the same.
func CheckKey(secret []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, checkInfo, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of token checks: %w", err)
	}
	return key, nil
}

// Minter makes tokens of one zone and tells those it could have made from
// invented ones. It is safe for use at the same time.
type Minter struct {
	zone  byte
	keys  atomic.Pointer[[][]byte] // the first two mint, all of them check
	clock *record.Clock
}

// minKey is the least length of a key in bytes.
const minKey = 16

// NewMinter returns a Minter for a zone (a-z or 0-9). The key, of at least 16
// bytes, makes the check characters; tokens made with a former key pass Check
// as well.
func NewMinter(zone byte, key []byte, clock *record.Clock, former ...[]byte) (*Minter, error) {
	if !validZone(zone) {
		return nil, fmt.Errorf("zone %q is not one of a-z and 0-9", string(rune(zone)))
	}
	m := &Minter{zone: zone, clock: clock}
	return m, m.Use(key, former...)
}

// Use replaces the keys that NewMinter was given.
func (m *Minter) Use(key []byte, former ...[]byte) error {
	var keys [][]byte
	for _, k := range append([][]byte{key}, former...) {
		if len(k) < minKey {
			return fmt.Errorf("a key of token checks has %d bytes, at least %d are needed", len(k), minKey)
		}
		keys = append(keys, bytes.Clone(k))
	}
	m.keys.Store(&keys)
	return nil
}

// Mint returns a new token of today. That it is unique is for the caller to
// see to, by the condition under which it is kept. While there is a former key,
// it is one that passes under both: other nodes may know only one of them. That
// takes some 4,000 tries, two milliseconds.
func (m *Minter) Mint() Token {
	var b [tokenLen]byte
	b[0] = m.zone
	m.clock.Wall().UTC().AppendFormat(b[dateStart:dateStart], "20060102")
	keys := *m.keys.Load()
	for {
		randomText(b[randomStart:checkStart])
		check := checkOf(keys[0], b[:checkStart])
		if len(keys) == 1 || check == checkOf(keys[1], b[:checkStart]) {
			copy(b[checkStart:], check[:])
			return Token(b[:])
		}
	}
}

// Check tells whether a token's check characters are right. One in 3844
// invented tokens passes, and so may one that was made elsewhere fail: it
// decides what a lookup may cost, not who is served.
func (m *Minter) Check(t Token) bool {
	if len(t) != tokenLen {
		return false
	}
	passed := 0
	for _, key := range *m.keys.Load() {
		check := checkOf(key, []byte(t[:checkStart]))
		passed |= subtle.ConstantTimeCompare(check[:], []byte(t[checkStart:]))
	}
	return passed == 1
}

// checkOf returns the two check characters for what stands before them.
func checkOf(key, head []byte) [2]byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(head)
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	const n = uint64(len(alphabet))
	return [2]byte{
		alphabet[binary.BigEndian.Uint64(sum[:8])%n],
		alphabet[binary.BigEndian.Uint64(sum[8:16])%n],
	}
}

// randomText fills b with characters of the alphabet, each as likely as any
// other: bytes beyond the last whole multiple of its length are thrown away.
func randomText(b []byte) {
	const limit = 256 / len(alphabet) * len(alphabet)
	var pool [2 * randomLen]byte
	for filled := 0; filled < len(b); {
		rand.Read(pool[:]) // never fails: the program ends if it would
		for _, c := range pool {
			if int(c) < limit && filled < len(b) {
				b[filled] = alphabet[int(c)%len(alphabet)]
				filled++
			}
		}
	}
}
