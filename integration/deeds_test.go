package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// post is Post for what may fail: it reads an answer with status 200 into out
// (may be nil). The status is 0 where nothing came.
func (a *API) post(path string, body, out any) (status int, err error) {
	return postTo(a.HTTP, a.base+path, a.Token, body, out)
}

func postTo(client *http.Client, url, session string, body, out any) (status int, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if session != "" {
		req.Header.Set("X-OOSE-Token", session)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err = io.ReadAll(res.Body)
	switch {
	case err != nil:
		return 0, err
	case res.StatusCode != http.StatusOK:
		return res.StatusCode, fmt.Errorf("POST %s: %s: %.300s", url, res.Status, text)
	case out != nil:
		err = json.Unmarshal(text, out)
	}
	return res.StatusCode, err
}

// store uploads a content and buys it, both acknowledged or an error.
func store(a *API, l *ledger, body []byte) error {
	hash, err := upload(a, body)
	if err != nil {
		return err
	}
	token, err := purchase(a, hash)
	if err != nil {
		return err
	}
	l.uploaded(hash, body, token)
	return nil
}

// buy makes one more purchase of a content that the ledger has.
func buy(a *API, l *ledger, pick uint64) error {
	s, ok := l.pick(pick)
	if !ok {
		return nil
	}
	token, err := purchase(a, s.entry.hash)
	if err == nil {
		l.bought(s, token)
	} else if !l.holds(s) { // it was removed meanwhile
		return nil
	}
	return err
}

// busy uploads and buys at prisms, as clients do, until stop is called, which
// tells how often that was acknowledged, and how often not.
func (v *viewers) busy(api map[*Node]*API, seed uint64, size int, pace time.Duration) (stop func() string) {
	done, over := make(chan struct{}), make(chan string)
	go func() {
		r := rand.New(rand.NewPCG(seed, 2))
		ticker := time.NewTicker(pace)
		defer ticker.Stop()
		var acknowledged, failed int
		var last error
		for i := 0; ; i++ {
			a := api[v.well(v.prisms[i%len(v.prisms)])]
			err := buy(a, v.ledger, r.Uint64())
			if i%2 == 0 {
				err = store(a, v.ledger, pseudo(r, size+r.IntN(1000)))
			}
			if err != nil {
				failed++
				last = err
			} else {
				acknowledged++
			}
			select {
			case <-done:
				over <- fmt.Sprintf("%d uploads and purchases acknowledged, %d not (the last: %v)", acknowledged, failed, last)
				return
			case <-ticker.C:
			}
		}
	}()
	return func() string {
		close(done)
		return <-over
	}
}
