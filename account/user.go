package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	"github.com/ooseio/oose/record"
)

// Errors on which callers decide.
var (
	// ErrDeclared says that a user or session belongs to the configuration and
	// can't be changed otherwise.
	ErrDeclared = errors.New("declared by the configuration")
	// ErrUnknownUser says that there is no such user.
	ErrUnknownUser = errors.New("unknown user")
	// ErrInvalidName says that a text can't be a user's name.
	ErrInvalidName = errors.New("invalid user name")
	// ErrInvalidPassword says that a password is empty, or longer than the 72
	// bytes that bcrypt looks at.
	ErrInvalidPassword = errors.New("invalid password")
)

// defaultCost is the bcrypt cost of the hashes made here: about a quarter of a
// second of CPU in 2026.
const defaultCost = 12

// maxName is the longest name of a user in bytes.
const maxName = 128

// User is one user, as a list shows it.
type User struct {
	Name     string `json:"name"`
	Declared bool   `json:"declared"`          // by the configuration
	Changed  int64  `json:"changed,omitempty"` // milliseconds since 1970; 0 for declared ones
}

// identity is what a login holds on to: whose password it was, and which.
type identity struct {
	hash    string
	changed record.Time // of the version; 0 for declared users
	digest  string      // of a declared user's hash; "" for others
}

// userValue is the value of a record of topic user.
type userValue struct {
	Hash string `json:"hash"` // bcrypt
}

// Users is all users: those the configuration declares and those kept as
// records. A declared one hides a kept one of the same name. The methods can
// be called at the same time.
type Users struct {
	engine   record.Engine
	log      *zap.Logger
	guard    *guard
	cost     int
	declared atomic.Pointer[map[string]string]
	cache    *record.Cache[identity]
	stop     func()
}

// userCache is how many users are kept in memory.
const userCache = 4096

// NewUsers returns the users over an engine's records and those declared (name
// to bcrypt hash). Close ends its watching.
func NewUsers(e record.Engine, clock *record.Clock, declared map[string]string, log *zap.Logger) *Users {
	if log == nil {
		log = zap.NewNop()
	}
	u := &Users{engine: e, log: log, guard: newGuard(clock.Wall), cost: defaultCost, cache: record.NewCache[identity](userCache)}
	u.SetDeclared(declared)
	u.stop = e.Watch(record.User, func(records []record.Record) {
		for _, r := range records {
			u.cache.Invalidate(r.Key)
		}
	})
	return u
}

// Close ends the watching. Users must not be used afterwards.
func (u *Users) Close() { u.stop() }

// SetDeclared replaces the users that the configuration declares (name to
// bcrypt hash); a new configuration may have others.
func (u *Users) SetDeclared(declared map[string]string) {
	m := maps.Clone(declared)
	u.declared.Store(&m)
}

// CheckName returns an error where a text can't be the name of a user: 1 to
// 128 bytes of text without control characters, "/" and ":" (which end a name
// in an address and in basic auth). Its error is ErrInvalidName.
func CheckName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' || r == ':' }) {
		return fmt.Errorf("%w: use 1 to %d bytes without control characters, '/' and ':'", ErrInvalidName, maxName)
	}
	return nil
}

// Verify tells whether a password is the user's. An unknown user costs the
// same as a wrong password. Errors: ErrBadLogin, ErrTooMany (RetryAfter tells
// when), record.ErrUnavailable, the context's.
func (u *Users) Verify(ctx context.Context, name, password string, client netip.Addr) error {
	_, err := u.verify(ctx, name, password, client)
	return err
}

func (u *Users) verify(ctx context.Context, name, password string, client netip.Addr) (identity, error) {
	var id identity
	known := false
	if CheckName(name) == nil {
		var err error
		if id, known, err = u.find(ctx, name); err != nil {
			return identity{}, err
		}
	}
	hash := id.hash
	if !known {
		hash = u.dummy(name)
	}
	err := u.guard.check(ctx, name, hash, password, client)
	if err == nil && !known {
		err = ErrBadLogin
	}
	if err != nil {
		return identity{}, err
	}
	return id, nil
}

// find returns who a user is now.
func (u *Users) find(ctx context.Context, name string) (identity, bool, error) {
	if hash, ok := (*u.declared.Load())[name]; ok {
		return identity{hash: hash, digest: digestOf(hash)}, true, nil
	}
	id, err := u.cache.Get(ctx, name, u.read)
	if err != nil {
		return identity{}, false, err
	}
	return id, id.hash != "", nil
}

// read returns the identity of a kept user; without a hash if there is none,
// which is not kept in memory: guesses would push out those there are.
func (u *Users) read(ctx context.Context, name string) (identity, bool, error) {
	versions, err := u.engine.Get(ctx, record.User, name)
	if err != nil {
		return identity{}, false, fmt.Errorf("reading a user: %w", err)
	}
	r, ok := record.Merge(record.User, versions)
	if !ok {
		return identity{}, false, nil
	}
	var value userValue
	if err := json.Unmarshal(r.Value, &value); err != nil {
		return identity{}, false, fmt.Errorf("reading a user: %w", err)
	}
	return identity{hash: value.Hash, changed: r.Time}, true, nil
}

// Find returns one user. Its errors are ErrUnknownUser and record.ErrUnavailable.
func (u *Users) Find(ctx context.Context, name string) (User, error) {
	if CheckName(name) != nil {
		return User{}, ErrUnknownUser
	}
	id, ok, err := u.find(ctx, name)
	if err != nil {
		return User{}, err
	}
	if !ok {
		return User{}, ErrUnknownUser
	}
	return User{Name: name, Declared: id.digest != "", Changed: id.changed.Milli()}, nil
}

// Set makes a user with a password, or gives one another. Sessions that began
// with the former password end. Errors: ErrDeclared, ErrInvalidName,
// ErrInvalidPassword, record.ErrUnavailable.
func (u *Users) Set(ctx context.Context, name, password string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if u.isDeclared(name) {
		return fmt.Errorf("setting the password of user %q: %w", name, ErrDeclared)
	}
	if password == "" || len(password) > maxPassword {
		return fmt.Errorf("%w: use 1 to %d bytes, this one has %d", ErrInvalidPassword, maxPassword, len(password))
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), u.cost)
	if err != nil {
		return fmt.Errorf("hashing a password: %w", err)
	}
	value, err := json.Marshal(userValue{Hash: string(hash)})
	if err != nil {
		return fmt.Errorf("encoding a user: %w", err)
	}
	if _, err := u.engine.Update(ctx, record.User, name, record.Condition{}, record.Change{Value: value}); err != nil {
		return fmt.Errorf("keeping user %q: %w", name, err)
	}
	u.log.Info("password set", zap.String("user", name))
	return nil
}

// Remove removes a user, whose sessions end. One of the same name may be made
// again. Errors: ErrDeclared, ErrUnknownUser, record.ErrUnavailable.
func (u *Users) Remove(ctx context.Context, name string) error {
	if u.isDeclared(name) {
		return fmt.Errorf("removing user %q: %w", name, ErrDeclared)
	}
	if _, err := u.Find(ctx, name); err != nil {
		return err
	}
	if _, err := u.engine.Update(ctx, record.User, name, record.Condition{}, record.Change{Delete: true}); err != nil {
		return fmt.Errorf("removing user %q: %w", name, err)
	}
	u.log.Info("user removed", zap.String("user", name))
	return nil
}

// List returns all users in the order of their names.
func (u *Users) List(ctx context.Context) ([]User, error) {
	users := map[string]User{}
	var versions []record.Record
	keep := func() {
		if r, ok := record.Merge(record.User, versions); ok {
			users[r.Key] = User{Name: r.Key, Changed: r.Time.Milli()}
		}
		versions = versions[:0]
	}
	for r, err := range u.engine.List(ctx, record.User, record.ByKey, "", "") {
		if err != nil {
			return nil, fmt.Errorf("listing users: %w", err)
		}
		if len(versions) > 0 && versions[0].Key != r.Key {
			keep()
		}
		versions = append(versions, r)
	}
	keep()
	for name := range *u.declared.Load() {
		users[name] = User{Name: name, Declared: true}
	}
	return slices.SortedFunc(maps.Values(users), func(a, b User) int { return strings.Compare(a.Name, b.Name) }), nil
}

func (u *Users) isDeclared(name string) bool {
	_, ok := (*u.declared.Load())[name]
	return ok
}

// dummy returns a hash for a user who does not exist. Its cost is that of one
// of the users there may be, always the same for a name, so that the time an
// answer takes does not tell who exists.
func (u *Users) dummy(name string) string {
	declared := *u.declared.Load()
	hashes := append(slices.Sorted(maps.Values(declared)), fmt.Sprintf("$2a$%02d$", u.cost))
	pick := u.guard.pair(name, "", "")
	return dummyOf(hashes[int(pick[0])%len(hashes)])
}

// dummyOf returns a hash that no password has, of the same cost as another.
func dummyOf(hash string) string {
	const head = len("$2a$12$")
	if len(hash) < head {
		hash = fmt.Sprintf("$2a$%02d$", defaultCost)
	}
	return hash[:head] + strings.Repeat("O", hashLen-head)
}

// digestOf names a declared user's hash, for sessions to remember.
func digestOf(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:16])
}
