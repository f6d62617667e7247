package adminapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/user"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// desk is the admin routes over records and an audit log alone.
type desk struct {
	*http.ServeMux
	engine *recordtest.Memory
	index  *inventory.Index
	audit  *audit.Log
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	clock := record.NewClock(nil)
	d := &desk{engine: recordtest.NewMemory(clock)}
	d.index = inventory.NewIndex(d.engine, clock, 100)
	t.Cleanup(d.index.Close)
	d.audit = audit.New(t.TempDir(), "edge1", zap.NewNop())
	t.Cleanup(func() { require.NoError(t, d.audit.Close()) })
	accounts := account.NewUsers(d.engine, clock, nil, zap.NewNop())
	t.Cleanup(accounts.Close)
	d.ServeMux = adminWith(func() (*parts, error) {
		return &parts{engine: d.engine, index: d.index, accounts: accounts, audit: d.audit, counters: new(handlers.Counters), release: func() {}}, nil
	})
	return d
}

func (d *desk) ask(t *testing.T, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func (d *desk) entries(t *testing.T) (all []audit.Entry) {
	t.Helper()
	for e, err := range d.audit.Read(time.Time{}) {
		require.NoError(t, err)
		all = append(all, e)
	}
	return all
}

const (
	hashA = "2aae6c35c94fcfb415dbe95f408b9ce91ee846ed"
	hashB = "7c211433f02071597741e6ff5a8ea34789abbf43"
)

func TestBlockRoutes(t *testing.T) {
	d := newDesk(t)
	w := d.ask(t, "POST", "/oose/block", `{"hash":["`+strings.ToUpper(hashA)+`","`+hashB+`"],"reason":"a court","hidden":true}`)
	require.Equal(t, 200, w.Code, w.Body)
	require.JSONEq(t, `{"result":{"hashes":["`+hashA+`","`+hashB+`"],"copies":1}}`, w.Body.String())
	w = d.ask(t, "GET", "/oose/blocks", "")
	var list BlocksAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
	require.Len(t, list.Blocks, 2)
	require.Equal(t, hashA, list.Blocks[0].Hash)
	require.Equal(t, "a court", list.Blocks[0].Reason)
	require.Equal(t, "admin", list.Blocks[0].By)
	require.True(t, list.Blocks[0].Hidden)
	require.NotZero(t, list.Blocks[0].At)

	w = d.ask(t, "POST", "/oose/unblock", `{"hash":"`+hashA+`"}`)
	require.JSONEq(t, `{"result":{"hashes":["`+hashA+`"],"copies":1}}`, w.Body.String())
	w = d.ask(t, "POST", "/oose/unblock", `{"hash":["`+hashA+`","`+hashB+`"]}`)
	require.JSONEq(t, `{"result":{"hashes":["`+hashB+`"],"unchanged":["`+hashA+`"],"copies":1}}`, w.Body.String())
	w = d.ask(t, "GET", "/oose/blocks", "")
	require.JSONEq(t, `{"blocks":[]}`, w.Body.String())

	for body, status := range map[string]int{
		`{}`: 400, `{"hash":[]}`: 400, `{"hash":"x"}`: 422, `{"hash":["` + hashA + `","x"]}`: 422,
		`{"hash":"` + hashA + `","reason":"` + strings.Repeat("x", inventory.MaxReason+1) + `"}`: 400,
	} {
		require.Equal(t, status, d.ask(t, "POST", "/oose/block", body).Code, body)
	}
	require.JSONEq(t, `{"blocks":[]}`, d.ask(t, "GET", "/oose/blocks", "").Body.String(), "nothing was done where something was wrong")

	var did []string
	for _, e := range d.entries(t) {
		require.Equal(t, audit.Admin, e.Via)
		require.Equal(t, "192.0.2.1", e.From)
		did = append(did, string(e.Action)+" "+e.Hash[:4])
	}
	require.Equal(t, []string{"content.block 2aae", "content.block 7c21", "content.unblock 2aae", "content.unblock 7c21"}, did)

	d.engine.Fail(record.ErrUnavailable)
	defer d.engine.Fail(nil)
	w = d.ask(t, "POST", "/oose/block", `{"hash":"`+hashA+`"}`)
	require.Equal(t, 503, w.Code)
	require.Contains(t, w.Body.String(), "records are not available")
}

func TestAuditRoute(t *testing.T) {
	d := newDesk(t)
	require.Equal(t, 200, d.ask(t, "PUT", "/oose/users/alice", `{"password":"a long password"}`).Code)
	require.Equal(t, 200, d.ask(t, "PUT", "/oose/users/alice", `{"password":"another password"}`).Code)
	require.Equal(t, 200, d.ask(t, "DELETE", "/oose/users/alice", "").Code)
	require.Equal(t, 404, d.ask(t, "DELETE", "/oose/users/alice", "").Code)
	w := d.ask(t, "GET", "/oose/audit", "")
	require.Equal(t, "application/x-ndjson", w.Header().Get("Content-Type"))
	require.NotContains(t, w.Body.String(), "password")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	require.Len(t, lines, 3)
	entries := make([]audit.Entry, len(lines))
	for i, line := range lines {
		require.NoError(t, json.Unmarshal([]byte(line), &entries[i]))
		require.Equal(t, "alice", entries[i].User)
	}
	require.Equal(t, []audit.Action{audit.UserAdd, audit.UserChange, audit.UserRemove}, []audit.Action{entries[0].Action, entries[1].Action, entries[2].Action})

	count := func(query string) int {
		return strings.Count(d.ask(t, "GET", "/oose/audit?"+query, "").Body.String(), "\n")
	}
	at := entries[1].Time.Format(time.RFC3339Nano)
	require.Equal(t, 2, count("since="+at))
	require.Equal(t, 1, count("after="+at))
	require.Equal(t, 3, count("since=1000"))
	require.Equal(t, 0, count("since=2100-01-01T00:00:00Z"))
	require.Equal(t, 400, d.ask(t, "GET", "/oose/audit?since=yesterday", "").Code)
}

// TestAuditDelayed: a change is made although it can't be written down, and the
// answer says so.
func TestAuditDelayed(t *testing.T) {
	d := newDesk(t)
	require.NoError(t, d.audit.Close())
	w := d.ask(t, "PUT", "/oose/users/alice", `{"password":"a long password"}`)
	require.Equal(t, 200, w.Code)
	require.Equal(t, handlers.AuditDelayed, w.Header().Get(handlers.AuditHeader))
	w = d.ask(t, "POST", "/oose/block", `{"hash":["`+hashA+`","`+hashB+`"]}`)
	require.Equal(t, 1, strings.Count(w.Body.String(), `{"warning":"The audit log can't be written`), w.Body)
	require.Contains(t, w.Body.String(), `{"result":`)
}

// TestSystemUser asks over real connections, by TCP and over a socket.
func TestSystemUser(t *testing.T) {
	self, err := user.Current()
	require.NoError(t, err)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			client, url, named := listen(t, network, func(w http.ResponseWriter, r *http.Request) {
				c := &call{w: w, r: r, log: zap.NewNop(), parts: &parts{}}
				require.NoError(t, json.NewEncoder(w).Encode(c.actor()))
			})
			resp, err := client.Get(url)
			require.NoError(t, err)
			defer resp.Body.Close()
			var a audit.Actor
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&a))
			require.Equal(t, audit.Admin, a.Via)
			require.Equal(t, named, a.From)
			if systemTells {
				require.Equal(t, self.Username, a.System)
			}
		})
	}
}
