package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A node whose clock is two hours off is told of by the others, and does no
// harm: what it makes ends when it should, everywhere, and so does what the
// others make; the later word holds, whoever said it.
func TestClusterClockOff(t *testing.T) {
	parallel(t)
	for _, off := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			c := prepareEdges(t, 3, "content {\n copies 3\n }", func(i int) []Option {
				options := []Option{WithHost(fmt.Sprintf("127.0.3.%d", i))}
				if i == 3 {
					options = append(options, WithEnv(fmt.Sprintf("%s=%d", clockEnv, int(off.Seconds()))))
				}
				return options
			})
			c.start()
			for _, name := range []string{"edge1", "edge2"} {
				eventually(t, func() bool { return clockOff(t, c.Nodes[name], "edge3", off) }, name+" tells whose clock is off, and by how much")
				require.False(t, clockOff(t, c.Nodes[name], "edge1", 0) || clockOff(t, c.Nodes[name], "edge2", 0), "and that of no other")
			}
			wrong := c.Nodes["edge3"]
			wrong.Eventually(func() bool { return strings.Contains(wrong.Log(), "this node's clock differs") }, "it says so itself")

			right := c.Nodes["edge1"].Login()
			from := map[string]*API{"edge1": right, "edge3": right.use(wrong)}
			from["edge3"].MustPost("/user/session/validate", map[string]string{}, nil)
			back := wrong.Login()
			back.use(c.Nodes["edge2"]).MustPost("/user/session/validate", map[string]string{}, nil)
			hash := right.Upload("f.bin", "sha256", strings.NewReader("hello"))
			for maker, other := range map[string]string{"edge1": "edge3", "edge3": "edge1"} {
				everywhere := func(token string, status int) {
					t.Helper()
					for name := range c.Nodes {
						eventually(t, func() bool { return c.get(name, token) == status }, fmt.Sprintf("made at %s, at %s: %d", maker, name, status))
					}
				}
				long := from[maker].Purchase(hash, "bin", map[string]any{"life": time.Hour.Milliseconds()}).Token
				everywhere(long, http.StatusOK)
				short := from[maker].Purchase(hash, "bin", map[string]any{"life": 1000}).Token
				everywhere(short, http.StatusGone)
				for name := range c.Nodes {
					require.Equal(t, http.StatusOK, c.get(name, long), "an hour is not over")
				}
				// A life that is begun anew elsewhere, and a revocation there.
				from[other].MustPost("/content/purchase/update", map[string]any{"token": long, "life": 2 * time.Hour.Milliseconds()}, nil)
				everywhere(long, http.StatusOK)
				from[other].MustPost("/content/purchase/remove", map[string]string{"token": long}, nil)
				everywhere(long, http.StatusNotFound)
			}
			removed := back.Upload("g.bin", "sha256", strings.NewReader("removed by the other"))
			right.MustPost("/content/remove", map[string]string{"hash": removed}, nil)
			eventually(t, func() bool { return !detail(back, removed).Exists }, "the removal holds")
			require.Equal(t, removed, right.Upload("g.bin", "sha256", strings.NewReader("removed by the other")))
			eventually(t, func() bool { return detail(back, removed).Count == 3 }, "and so does the upload after it")
			c.agree()
		})
	}
}

// clockOff tells whether a node reports another's clock to be off, by about as
// much.
func clockOff(t *testing.T, n *Node, name string, by time.Duration) bool {
	t.Helper()
	list, _ := getJSON(t, n.AdminURL("/oose/peers"))["connections"].([]any)
	for _, each := range list {
		each, _ := each.(map[string]any)
		ahead, _ := each["clockOffset"].(float64)
		if each["name"] == name && each["clockOff"] == true && (time.Duration(ahead)-by).Abs() < time.Minute {
			return true
		}
	}
	return false
}
