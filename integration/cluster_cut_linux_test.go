package integration

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A node that was cut off catches up, in both directions, when it is back; and
// two that can't reach each other learn by the third what either writes.
func TestClusterCutAndHealed(t *testing.T) {
	parallel(t)
	w := newNetwork(t, 3)
	c := prepareEdges(t, 3, "content {\n copies 3\n }", func(i int) []Option { return []Option{w.within(i)} })
	c.start()
	one, two, three := c.Nodes["edge1"].Login(), c.Nodes["edge2"].Login(), c.Nodes["edge3"].Login()

	hash := one.Upload("f.bin", "sha256", bytes.NewReader(noise(t, 10_000)))
	require.Equal(t, 3, detail(one, hash).Count)
	before := one.Purchase(hash, "bin", nil).Token
	c.agree()

	t.Run("cut off", func(t *testing.T) {
		w.Cut(3)
		here := one.Purchase(hash, "bin", nil).Token
		there := three.Purchase(hash, "bin", nil).Token
		one.MustPost("/content/purchase/remove", map[string]string{"token": before}, nil)
		require.Equal(t, http.StatusOK, c.get("edge3", there), "who is cut off goes on by itself")
		require.Equal(t, http.StatusOK, c.get("edge3", before), "and can't know of the revocation")
		require.Equal(t, http.StatusOK, c.get("edge2", here))
		w.Heal(3)
		c.agree()
		for name := range c.Nodes {
			require.Equal(t, http.StatusOK, c.get(name, here), name)
			require.Equal(t, http.StatusOK, c.get(name, there), name)
			require.Equal(t, http.StatusNotFound, c.get(name, before), "revoked, at %s", name)
		}
	})

	t.Run("alone", func(t *testing.T) {
		n := c.Nodes["edge3"]
		r := n.Reload(Config{Text: strings.Replace(n.config.Text, "content {", "purchase {\n alone 2s\n }\n content {", 1)})
		require.Zero(t, r.Code, r.Err)
		token := one.Purchase(hash, "bin", nil).Token
		require.Equal(t, http.StatusOK, c.get("edge3", token))
		w.Cut(3)
		eventually(t, func() bool { return c.get("edge3", token) == http.StatusServiceUnavailable }, "who is cut off for too long says that it can't tell")
		require.Equal(t, http.StatusOK, c.get("edge1", token), "the others go on")
		w.Heal(3)
		eventually(t, func() bool { return c.get("edge3", token) == http.StatusOK }, "it serves again")
	})

	t.Run("by the third", func(t *testing.T) {
		w.CutBetween(2, 3)
		defer w.HealBetween(2, 3)
		token := two.Purchase(hash, "bin", nil).Token
		eventually(t, func() bool { return c.get("edge3", token) == http.StatusOK }, "edge3 learns of it through edge1")
		two.MustPost("/content/purchase/remove", map[string]string{"token": token}, nil)
		eventually(t, func() bool { return c.get("edge3", token) == http.StatusNotFound }, "and of its end")
		c.agree()
	})
}
