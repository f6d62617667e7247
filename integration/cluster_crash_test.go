package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// crashes is how often each of these tests kills.
const crashes = 4

// A node that is killed at any moment while it catches up goes on from there,
// and has everything in the end.
func TestClusterFollowerKilled(t *testing.T) {
	parallel(t)
	c := edges(t, 2, "")
	c.start()
	one, two := c.Nodes["edge1"], c.Nodes["edge2"]
	a := one.Login()
	hash := a.Upload("f.bin", "sha256", strings.NewReader("hello"))
	two.Kill()
	var tokens, revoked []string
	for range crashes {
		for range 15 {
			tokens = append(tokens, a.Purchase(hash, "bin", nil).Token)
		}
		gone := tokens[len(tokens)-2-rand.IntN(10)] // of this round: nothing is revoked twice
		a.MustPost("/content/purchase/remove", map[string]string{"token": gone}, nil)
		revoked = append(revoked, gone)
		two.spawn()
		select { // the moment is what is tested: there is no condition to await
		case <-time.After(time.Duration(rand.IntN(3000)) * time.Millisecond):
		case <-two.Exited():
		}
		require.True(t, two.Running(), "it ended by itself: %s", two.Log())
		two.Kill()
	}
	two.Restart()
	c.waitPeers()
	isRevoked := map[string]bool{}
	for _, token := range revoked {
		isRevoked[token] = true
	}
	for _, token := range tokens {
		want := http.StatusOK
		if isRevoked[token] {
			want = http.StatusNotFound
		}
		eventually(t, func() bool { return c.get("edge2", token) == want }, fmt.Sprintf("%s: %d", token[:9], want))
	}
	c.agree()
}

// What was acknowledged as being on two nodes is there when its maker is killed
// the moment after.
func TestClusterWriterKilledAfterAcknowledgement(t *testing.T) {
	parallel(t)
	c := edges(t, 2, "")
	c.start()
	one := c.Nodes["edge1"]
	a := one.Login()
	hash := a.Upload("f.bin", "sha256", strings.NewReader("hello"))
	require.Equal(t, 2, detail(a, hash).Count)
	var tokens []string
	for range crashes {
		one.Eventually(func() bool {
			res, text := a.Post("/content/purchase", map[string]any{"hash": hash, "ext": "bin"})
			if res.StatusCode != http.StatusOK || res.Header.Get("OOSE-Durability") == "1" {
				return false // the other node does not follow again yet
			}
			require.NoError(t, one.cmd.Process.Kill())
			tokens = append(tokens, jsonAt(t, text, "token"))
			return true
		}, "a purchase is on two nodes")
		<-one.Exited()
		require.Equal(t, http.StatusOK, c.get("edge2", tokens[len(tokens)-1]), "at the node that has confirmed it")
		one.Restart()
		for _, token := range tokens {
			require.Equal(t, http.StatusOK, c.get("edge1", token), "at its maker, after the crash")
		}
	}
	c.waitPeers()
	c.agree()
}
