package prism_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/ask"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/prism"
	"github.com/ooseio/oose/record"
)

func faultOf(code handlers.Code, cause error) error {
	f := handlers.Faultf(code, "Ask again").Because(cause)
	f.Retry = time.Second
	return f
}

// asking is a site whose other nodes answer as answer says.
type asking struct {
	*site
	asked  int
	many   int
	answer func() error
}

func newAsking(t *testing.T) *asking {
	a := &asking{answer: func() error { return nil }}
	a.site = newSite(t, func(d *prism.Deps, _ *prism.Settings) {
		d.Content = func(context.Context, content.Hash) error {
			a.asked++
			return a.answer()
		}
		d.Contents = func(context.Context, []content.Hash) error {
			a.many++
			return a.answer()
		}
	})
	return a
}

// Content that no record places anywhere is asked for before a 404.
func TestOthersAreAsked(t *testing.T) {
	a := newAsking(t)
	fox := handlertest.HashOf(t, content.SHA1, handlertest.Fox).String()
	body := `{"hash":"` + fox + `"}`
	routes := []string{"/content/purchase", "/content/download", "/content/remove"}
	for _, path := range routes {
		for _, c := range []struct {
			answer error
			status int
		}{
			{nil, 404}, {faultOf(handlers.Unavailable, record.ErrUnavailable), 503}, {faultOf(handlers.TooMany, errors.New("busy")), 429},
		} {
			a.asked = 0
			a.answer = func() error { return c.answer }
			answer := a.post(t, path, body)
			require.Equal(t, c.status, answer.Status, "%s %s", path, answer.Body)
			require.Equal(t, 1, a.asked)
			require.Equal(t, c.answer != nil, answer.Header.Get("Retry-After") != "", path)
		}
	}
	// detail and exists are answered with a no where those who can't be asked are
	// away: what they hold can't be had now. Others may hold what can.
	a.answer = func() error { return faultOf(handlers.Unavailable, ask.ErrAway) }
	a.asked = 0
	require.Equal(t, false, object(t, a.post(t, "/content/detail", body))["exists"])
	require.Equal(t, false, object(t, a.private(t, "/content/exists", body))["exists"])
	require.Equal(t, 2, a.asked)
	a.answer = func() error { return faultOf(handlers.Unavailable, ask.ErrUnsure) }
	for _, answer := range []handlertest.Answer{a.post(t, "/content/detail", body), a.private(t, "/content/exists", body)} {
		require.Equal(t, 503, answer.Status)
		require.NotEmpty(t, answer.Header.Get("Retry-After"))
	}
	a.answer = func() error { return faultOf(handlers.TooMany, errors.New("busy")) }
	require.Equal(t, 429, a.post(t, "/content/detail", body).Status)

	a.answer = func() error {
		a.Put(t, "store1", "txt", handlertest.Fox)
		return nil
	}
	require.Equal(t, true, object(t, a.post(t, "/content/detail", body))["exists"])
	a.asked = 0
	for _, path := range routes {
		require.Equal(t, 200, a.post(t, path, body).Status)
	}
	require.Zero(t, a.asked, "it is known now")
}

// Many contents at once cost one question for each 256 that are not known here.
func TestManyAreAskedAtOnce(t *testing.T) {
	a := newAsking(t)
	known := a.Put(t, "store1", "txt", handlertest.Fox)
	hashes := []string{known.String(), "no hash", ""}
	for i := range 600 {
		hashes = append(hashes, handlertest.HashOf(t, content.SHA1, strings.Repeat("x", i)).String())
	}
	body, err := json.Marshal(map[string]any{"hash": hashes})
	require.NoError(t, err)
	answer := object(t, a.post(t, "/content/detail", string(body)))
	require.Len(t, answer, len(hashes))
	require.Equal(t, true, answer[known.String()].(map[string]any)["exists"])
	require.Equal(t, 3, a.many)
	require.Zero(t, a.asked)

	a.answer = func() error { return faultOf(handlers.TooMany, errors.New("busy")) }
	require.Equal(t, 429, a.post(t, "/content/detail", string(body)).Status)
}

// A new purchase says on how many nodes it is durable.
func TestPurchaseIsConfirmed(t *testing.T) {
	var wait time.Duration
	copies := 2
	s := newSite(t, func(d *prism.Deps, _ *prism.Settings) {
		d.Confirm = func(ctx context.Context, ack record.Ack) record.Ack {
			deadline, ok := ctx.Deadline()
			wait = time.Until(deadline)
			if !ok || copies == 1 {
				<-ctx.Done()
			}
			ack.Copies = copies
			return ack
		}
	})
	body := `{"hash":"` + s.Put(t, "store1", "txt", handlertest.Fox).String() + `"}`
	answer := s.post(t, "/content/purchase", body)
	require.Equal(t, http.StatusOK, answer.Status)
	require.Equal(t, "2", answer.Header.Get("OOSE-Durability"))
	require.LessOrEqual(t, wait, 250*time.Millisecond)
	copies = 1
	answer = s.post(t, "/content/purchase", body)
	require.Equal(t, http.StatusOK, answer.Status, "it leaves all the same")
	require.Equal(t, "1", answer.Header.Get("OOSE-Durability"))
}
