package account

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/record"
)

// Errors on which callers decide.
var (
	// ErrNoSession says that a token is that of no session, or of one that is over.
	ErrNoSession = errors.New("no such session")
	// ErrInvalidData says that a session's data is no JSON object, or too long.
	ErrInvalidData = errors.New("invalid session data")
)

// Bounds of a session.
const (
	// MaxData is the longest data of a session in bytes of JSON.
	MaxData = 16 << 10

	tokenBytes   = 32  // random bytes of a session's token
	maxToken     = 512 // bytes of what may be a token at all
	sessionCache = 1 << 14
	attempts     = 8 // how often a change is tried again where another was first
)

// Session is what logging in begins. One that Sessions gives is shared and
// must not be changed.
type Session struct {
	Token   string          // a secret
	User    string          // the user's name
	IP      string          // the address that logged in, "" for one of the configuration
	Data    json.RawMessage // a JSON object, the caller's own
	Begun   int64           // milliseconds since 1970, 0 for one of the configuration
	Expires int64           // milliseconds since 1970, 0: never
	Static  bool            // the configuration declares it: it never ends
}

// sessionValue is the value of a record of topic session.
type sessionValue struct {
	User        string          `json:"user"`
	UserChanged record.Time     `json:"userChanged"`          // the time of the user's version
	UserDigest  string          `json:"userDigest,omitempty"` // of a declared user's hash
	IP          string          `json:"ip"`
	Begun       int64           `json:"begun"`
	Expires     int64           `json:"expires"`
	Data        json.RawMessage `json:"data"`
}

// kept is a session out of a record.
type kept struct {
	value   sessionValue
	version record.Time
	ended   bool // logged out
}

// Sessions is all sessions. The methods can be called at the same time.
type Sessions struct {
	engine record.Engine
	users  *Users
	clock  *record.Clock
	life   func() time.Duration
	keys   atomic.Pointer[map[[sha256.Size]byte]string]
	cache  *record.Cache[*kept]
	stop   func()
}

// NewSessions returns the sessions over an engine's records. Life is how long
// a session lasts from its login. Keys are the configuration's (token to user
// name): sessions that never end. Close ends its watching.
func NewSessions(e record.Engine, users *Users, life func() time.Duration, clock *record.Clock, keys map[string]string) *Sessions {
	s := &Sessions{engine: e, users: users, clock: clock, life: life, cache: record.NewCache[*kept](sessionCache)}
	s.SetKeys(keys)
	s.stop = e.Watch(record.Session, func(records []record.Record) {
		for _, r := range records {
			if r.Key == "" {
				s.cache.Clear()
				continue
			}
			s.cache.Invalidate(r.Key)
		}
	})
	return s
}

// Close ends the watching. Sessions must not be used afterwards.
func (s *Sessions) Close() { s.stop() }

// SetKeys replaces the sessions that the configuration declares (token to
// user name). An empty token is left out.
func (s *Sessions) SetKeys(keys map[string]string) {
	// By their digests: how far a guess agrees with a key then tells nothing about it.
	m := make(map[[sha256.Size]byte]string, len(keys))
	for token, user := range keys {
		if token != "" {
			m[sha256.Sum256([]byte(token))] = user
		}
	}
	s.keys.Store(&m)
}

// Login begins a session for who knows the user's password. Errors:
// ErrBadLogin, ErrTooMany, record.ErrUnavailable, the context's.
func (s *Sessions) Login(ctx context.Context, user, password string, client netip.Addr) (*Session, error) {
	id, err := s.users.verify(ctx, user, password, client)
	if err != nil {
		return nil, err
	}
	now := s.clock.Wall()
	value := sessionValue{
		User: user, UserChanged: id.changed, UserDigest: id.digest,
		Begun: now.UnixMilli(), Expires: now.Add(s.life()).UnixMilli(), Data: json.RawMessage("{}"),
	}
	if client.IsValid() {
		value.IP = client.Unmap().WithZone("").String()
	}
	token := randomToken()
	if err := s.keep(ctx, keyOf(token), record.IfAbsent(), value, false); err != nil {
		return nil, err
	}
	return value.session(token), nil
}

// Validate returns the session of a token. Errors: ErrNoSession,
// record.ErrUnavailable.
func (s *Sessions) Validate(ctx context.Context, token string) (*Session, error) {
	session, _, err := s.find(ctx, token)
	return session, err
}

// find returns a session that goes on, and its record's time.
func (s *Sessions) find(ctx context.Context, token string) (*Session, record.Time, error) {
	if token == "" || len(token) > maxToken {
		return nil, 0, ErrNoSession
	}
	sum := sha256.Sum256([]byte(token))
	if user, ok := (*s.keys.Load())[sum]; ok {
		return &Session{Token: token, User: user, Data: json.RawMessage("{}"), Static: true}, 0, nil
	}
	k, err := s.cache.Get(ctx, hex.EncodeToString(sum[:]), s.read)
	if err != nil {
		return nil, 0, err
	}
	if k == nil || k.ended || s.clock.Wall().UnixMilli() >= k.value.Expires {
		return nil, 0, ErrNoSession
	}
	id, known, err := s.users.find(ctx, k.value.User)
	if err != nil {
		return nil, 0, err
	}
	if !known || id.digest != k.value.UserDigest || id.changed > k.value.UserChanged {
		return nil, 0, ErrNoSession
	}
	return k.value.session(token), k.version, nil
}

func (s *Sessions) read(ctx context.Context, key string) (*kept, bool, error) {
	versions, err := s.engine.Get(ctx, record.Session, key)
	if err != nil {
		return nil, false, fmt.Errorf("reading a session: %w", err)
	}
	r, ok := record.Merge(record.Session, versions)
	if !ok {
		return nil, false, nil
	}
	if r.Final {
		return &kept{version: r.Time, ended: true}, true, nil
	}
	k := &kept{version: r.Time}
	if err := json.Unmarshal(r.Value, &k.value); err != nil {
		return nil, false, fmt.Errorf("reading a session: %w", err)
	}
	return k, true, nil
}

// Update replaces a session's data, a JSON object of at most MaxData bytes.
// Its life goes on as it was. Errors: ErrNoSession, ErrDeclared,
// ErrInvalidData, record.ErrUnavailable, and record.ErrConflict where others
// keep changing it.
func (s *Sessions) Update(ctx context.Context, token string, data json.RawMessage) (*Session, error) {
	data, err := compactObject(data)
	if err != nil {
		return nil, err
	}
	for range attempts {
		var session *Session
		session, err = s.change(ctx, token, func(v *sessionValue) { v.Data = data }, false)
		if !errors.Is(err, record.ErrConflict) {
			return session, err
		}
	}
	return nil, err
}

// Logout ends a session for good. Errors: ErrNoSession, ErrDeclared,
// record.ErrUnavailable, and record.ErrConflict where others keep changing it.
func (s *Sessions) Logout(ctx context.Context, token string) error {
	var err error
	for range attempts {
		_, err = s.change(ctx, token, func(v *sessionValue) { v.Data = nil }, true)
		if !errors.Is(err, record.ErrConflict) {
			return err
		}
	}
	return err
}

// change writes a session anew.
func (s *Sessions) change(ctx context.Context, token string, edit func(*sessionValue), final bool) (*Session, error) {
	session, version, err := s.find(ctx, token)
	if err != nil {
		return nil, err
	}
	if session.Static {
		return nil, fmt.Errorf("changing a session: %w", ErrDeclared)
	}
	k, err := s.cache.Get(ctx, keyOf(token), s.read)
	if err != nil {
		return nil, err
	}
	if k == nil || k.version != version {
		return nil, fmt.Errorf("changing a session: %w", record.ErrConflict)
	}
	value := k.value
	edit(&value)
	if err := s.keep(ctx, keyOf(token), record.IfUnchanged(version), value, final); err != nil {
		return nil, err
	}
	return value.session(token), nil
}

func (s *Sessions) keep(ctx context.Context, key string, cond record.Condition, value sessionValue, final bool) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // which would make six bytes of one, beyond what a record holds
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("encoding a session: %w", err)
	}
	change := record.Change{Value: bytes.TrimSpace(b.Bytes()), Expires: value.Expires, Final: final}
	if _, err := s.engine.Update(ctx, record.Session, key, cond, change); err != nil {
		return fmt.Errorf("keeping a session: %w", err)
	}
	return nil
}

// ResetPassword gives the session's user a new random password and returns
// it. All sessions that began with the former one end, this one too. Errors:
// ErrNoSession, ErrDeclared (the user belongs to the configuration),
// ErrUnknownUser (the session does, and names nobody), record.ErrUnavailable.
func (s *Sessions) ResetPassword(ctx context.Context, token string) (string, error) {
	session, err := s.Validate(ctx, token)
	if err != nil {
		return "", err
	}
	if _, err := s.users.Find(ctx, session.User); err != nil {
		return "", err
	}
	password := rand.Text()
	if err := s.users.Set(ctx, session.User, password); err != nil {
		return "", err
	}
	return password, nil
}

func (v *sessionValue) session(token string) *Session {
	data := v.Data
	if len(data) == 0 {
		data = json.RawMessage("{}")
	}
	return &Session{Token: token, User: v.User, IP: v.IP, Data: data, Begun: v.Begun, Expires: v.Expires}
}

// randomToken returns a new token of 43 characters, 256 random bits.
func randomToken() string {
	var b [tokenBytes]byte
	rand.Read(b[:]) // never fails: the program ends if it would
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// keyOf is what a session is kept under.
func keyOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// compactObject returns a JSON object without spaces; none becomes an empty one.
func compactObject(data json.RawMessage) (json.RawMessage, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || string(data) == "null" {
		return json.RawMessage("{}"), nil
	}
	if data[0] != '{' {
		return nil, fmt.Errorf("%w: use a JSON object", ErrInvalidData)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidData, err)
	}
	if b.Len() > MaxData {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidData, b.Len(), MaxData)
	}
	return b.Bytes(), nil
}
