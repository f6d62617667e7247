package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoTokenInAnyLog uses tokens in every way there is, with debug logs on,
// and looks for them in all that was logged.
func TestNoTokenInAnyLog(t *testing.T) {
	parallel(t)
	store := "http://localhost:$TLS {\n bind 127.0.0.1\n log {\n " + filter + "\n }\n"
	n := Start(t, Config{
		Stores:   " ",
		Purchase: "delivery redirect\n pass_errors",
		Sites:    store + "oose_purchase\n oose_prism p2\n oose_store disk1 $DIR/disk1\n oose_store disk2 $DIR/disk2\n }\n",
	})
	a := n.Login()
	hash := a.Upload("f.zip", "", bytes.NewReader(noise(t, 1000)))
	live := a.Purchase(hash, "zip", nil)
	short := a.Purchase(hash, "zip", map[string]any{"life": 1})
	bound := a.Purchase(hash, "zip", map[string]any{"ip": "192.0.2.1"})
	referred := a.Purchase(hash, "zip", map[string]any{"referrer": []string{"example"}})
	revoked := a.Purchase(hash, "zip", nil)
	a.MustPost("/content/purchase/find", map[string]string{"token": revoked.Token}, nil)
	a.MustPost("/content/purchase/update", map[string]any{"token": revoked.Token, "life": 60_000}, nil)
	a.MustPost("/content/purchase/remove", map[string]string{"token": revoked.Token}, nil)
	printed := n.MustRun("purchase", hash)
	found := regexp.MustCompile(`[a-z0-9]\d{8}[A-Za-z0-9]{11}`).FindString(printed)
	require.NotEmpty(t, found, printed)
	n.MustRun("revoke", found)
	unknown := live.Token[:18] + "zz"

	client := Client(t)
	client.CheckRedirect = nil // follow
	tokens := []string{live.Token, short.Token, bound.Token, referred.Token, revoked.Token, found, unknown}
	statuses := map[int]bool{}
	for _, token := range tokens {
		encoded := strings.Replace(url.PathEscape(token), token[12:13], "%"+fmt.Sprintf("%02X", token[12]), 1)
		for _, path := range []string{"/" + token + "/f.zip", "/" + token + "/f.zip?x=" + token, "/" + encoded + "/f.zip",
			"/play/" + token + "/f.zip", "/purchase/uri/play/" + token + "/f.zip", "/static/" + token + "/f.zip", "/no/" + token} {
			for _, base := range []string{n.URL(""), n.Expand("http://localhost:$TLS")} {
				for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost} {
					res, _ := fetch(t, client, method, base+path, "Referer: https://example/"+token)
					statuses[res.StatusCode] = true
				}
			}
		}
	}
	require.True(t, statuses[200] && statuses[404] && statuses[410] && statuses[403], "%v", statuses)
	require.Zero(t, n.Reload(n.config).Code)
	n.Stop()

	log := n.Log()
	require.Contains(t, log, `"logger":"http.log.access`, "the access log is there")
	require.Regexp(t, live.Token[:9]+`~[0-9a-f]{6}`, log, "tokens are written short")
	for _, secret := range append(tokens, a.Token, Password) {
		if i := strings.Index(log, secret); i >= 0 {
			t.Errorf("a whole token or password was logged: %s", log[max(0, i-500):min(len(log), i+200)])
		}
	}
	for _, token := range tokens {
		require.NotContains(t, log, token[13:], "the secret part of a token")
	}
}
