// Package handlertest has what the tests of the HTTP roles share: a node
// without a web server, made of the real parts over records in memory and
// stores in temporary folders, and the recorded exchanges of OOSE 2.x with what
// compares answers with them.
package handlertest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// The credentials of every role and of the one user of a Rig.
const (
	User     = "oose"
	Password = "blah1234"
)

// Rig is a node's parts.
type Rig struct {
	Clock    *record.Clock
	Engine   *recordtest.Memory
	Index    *inventory.Index
	Book     *purchase.Book
	Users    *account.Users
	Sessions *account.Sessions
	Registry *heartbeat.Registry
	Uploader *upload.Uploader
	Counters *handlers.Counters
	Log      *zap.Logger

	ahead    atomic.Int64 // how far the clock is ahead, in nanoseconds
	scanning atomic.Bool
	volumes  []*inventory.Volume
	stores   []upload.Store
}

// New returns a node with these stores, all of which are online. It ends with
// the test.
func New(t testing.TB, names ...string) *Rig {
	t.Helper()
	rig := &Rig{Counters: &handlers.Counters{}, Log: zap.NewNop()}
	rig.Clock = record.NewClock(func() time.Time { return time.Now().Add(time.Duration(rig.ahead.Load())) })
	rig.Engine = recordtest.NewMemory(rig.Clock)
	rig.Index = inventory.NewIndex(rig.Engine, rig.Clock, 1000)
	minter, err := purchase.NewMinter('a', []byte("a key that is only for the tests"), rig.Clock)
	require.NoError(t, err)
	rig.Book = purchase.NewBook(rig.Engine, minter, rig.Clock, purchase.Options{})
	rig.Users = account.NewUsers(rig.Engine, rig.Clock, map[string]string{User: hashOf(t, Password)}, rig.Log)
	rig.Sessions = account.NewSessions(rig.Engine, rig.Users, func() time.Duration { return time.Hour }, rig.Clock, nil)
	rig.Registry = heartbeat.NewRegistry(rig.Engine, rig.Log)
	rig.Uploader = upload.New(rig.Index, func() []upload.Store { return rig.stores }, rig.Log)
	t.Cleanup(func() {
		require.NoError(t, rig.Uploader.Close(context.Background()))
		rig.Registry.Close()
		rig.Sessions.Close()
		rig.Users.Close()
		rig.Book.Close()
		rig.Index.Close()
	})
	for _, name := range names {
		rig.open(t, name)
	}
	return rig
}

func hashOf(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	return string(hash)
}

// Basic returns a role's credentials: the given user, and Password.
func Basic(t testing.TB, user string) *account.Basic {
	t.Helper()
	basic, err := account.NewBasic(user, hashOf(t, Password))
	require.NoError(t, err)
	return basic
}

// open opens one store, as a peer of its own node.
func (rig *Rig) open(t testing.TB, full string) {
	t.Helper()
	name, err := peer.ParseName(full)
	require.NoError(t, err)
	v, err := inventory.OpenVolume(inventory.VolumeConfig{Name: name.Store, Root: t.TempDir()}, rig.Engine, rig.Clock, rig.Log)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- v.Run(context.Background()) }()
	t.Cleanup(func() {
		require.NoError(t, v.Close())
		require.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool { return v.Status().Scanned && v.Writable() }, 20*time.Second, 5*time.Millisecond)
	require.NoError(t, rig.Registry.Register(context.Background(), heartbeat.Peer{
		ID: v.ID(), Name: name, Kind: peer.Store, Node: name.Prism, Active: true, Writable: true,
	}))
	t.Cleanup(rig.Registry.Attach(v.ID(), v.Readable))
	rig.volumes = append(rig.volumes, v)
	rig.stores = append(rig.stores, upload.Local(v, name.Prism, ""))
}

// Forward puts the clock ahead.
func (rig *Rig) Forward(d time.Duration) { rig.ahead.Add(int64(d)) }

// SetScanning says that a first scan is not finished, or is.
func (rig *Rig) SetScanning(on bool) { rig.scanning.Store(on) }

// Scanning tells what SetScanning said.
func (rig *Rig) Scanning() bool { return rig.scanning.Load() }

// Volumes returns all stores.
func (rig *Rig) Volumes() []*inventory.Volume { return rig.volumes }

// Volume returns the store with an id.
func (rig *Rig) Volume(id string) (*inventory.Volume, bool) {
	for _, v := range rig.volumes {
		if v.ID() == id {
			return v, true
		}
	}
	return nil, false
}

// Store returns the store of a name.
func (rig *Rig) Store(t testing.TB, name string) *inventory.Volume {
	t.Helper()
	for _, v := range rig.volumes {
		if v.Name() == name {
			return v
		}
	}
	t.Fatalf("no store is called %s", name)
	return nil
}

// Put makes a clone in a store.
func (rig *Rig) Put(t testing.TB, store, ext, body string) content.Hash {
	t.Helper()
	h := HashOf(t, content.SHA1, body)
	_, err := rig.Store(t, store).Put(context.Background(), h, ext, strings.NewReader(body), int64(len(body)))
	require.NoError(t, err)
	return h
}

// HashOf returns the digest of a text.
func HashOf(t testing.TB, typ content.Type, body string) content.Hash {
	t.Helper()
	d := inventory.NewHash(typ)
	_, err := io.WriteString(d, body)
	require.NoError(t, err)
	h, err := inventory.SumOf(typ, d)
	require.NoError(t, err)
	return h
}

// Buy makes a purchase.
func (rig *Rig) Buy(t testing.TB, spec purchase.Spec) purchase.Token {
	t.Helper()
	p, _, err := rig.Book.Make(context.Background(), spec)
	require.NoError(t, err)
	return p.Token
}

// Login returns the token of a new session of User.
func (rig *Rig) Login(t testing.TB) string {
	t.Helper()
	s, err := rig.Sessions.Login(context.Background(), User, Password, netip.MustParseAddr("127.0.0.1"))
	require.NoError(t, err)
	return s.Token
}

// AddUser keeps a user whose password costs little to check.
func (rig *Rig) AddUser(t testing.TB, name, password string) {
	t.Helper()
	value, err := json.Marshal(map[string]string{"hash": hashOf(t, password)})
	require.NoError(t, err)
	_, err = rig.Engine.Update(context.Background(), record.User, name, record.IfAbsent(), record.Change{Value: value})
	require.NoError(t, err)
}

// Server is a role's handler.
type Server interface {
	Serve(w http.ResponseWriter, r *http.Request) error
}

// Serve starts a server that asks one role after the other and answers 404
// itself where none does.
func Serve(t testing.TB, roles ...Server) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, role := range roles {
			switch err := role.Serve(w, r); {
			case err == nil:
				return
			case err == handlers.ErrNotMine: //nolint:errorlint // the contract is this very value
			default:
				t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
				return
			}
		}
		_ = handlers.WriteFault(w, r, handlers.Faultf(handlers.RouteUnknown, "Not found"), false, false)
	}))
	t.Cleanup(s.Close)
	return s
}

// Answer is what a server answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// client follows no redirects and keeps no connection.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true, ExpectContinueTimeout: time.Minute},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// drained is how much of a body a server of net/http reads that its handler
// did not, in bytes. With more it cuts the connection, and on a busy machine the
// client may see that before the answer.
const drained = 256 << 10

// Do sends a request and reads the answer to its end. A long body waits until
// the server wants it.
func Do(t testing.TB, r *http.Request) Answer {
	t.Helper()
	if r.ContentLength > drained {
		r.Header.Set("Expect", "100-continue")
	}
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return Answer{resp.StatusCode, resp.Header, body}
}

// Post sends JSON, with headers given as name, value, ...
func Post(t testing.TB, url, body string, headers ...string) Answer {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return Do(t, r)
}
