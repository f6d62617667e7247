package integration

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The routes that OOSE 2.x had between its nodes work over stores of other
// processes: a prism puts to one of its own stores, wherever that runs, gives
// content from anywhere, and a store sends a clone to another.
func TestClusterPrivateRoutes(t *testing.T) {
	parallel(t)
	c := PrepareCluster(t, ClusterConfig{})
	for name, n := range c.Nodes {
		text := n.config.Text
		basic := " {\n\t\tbasic_auth oose " + passwordHash() + "\n"
		text = strings.Replace(text, "oose_prism "+name, "oose_prism "+name+basic+"\t}", 1)
		text = strings.Replace(text, "$DIR/content {\n", "$DIR/content"+basic, 1)
		n.Configure(Config{Text: text})
		n.spawn()
	}
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	c.WaitKnown()
	client := c.Prism1.Client()
	send := func(method string, n *Node, path string, body []byte) (int, string) {
		req, err := http.NewRequest(method, n.URL(path), bytes.NewReader(body))
		require.NoError(t, err)
		req.SetBasicAuth("oose", Password)
		res, err := client.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		var text bytes.Buffer
		_, err = text.ReadFrom(res.Body)
		require.NoError(t, err)
		return res.StatusCode, text.String()
	}

	data := noise(t, 70_000)
	hash := sha1Of(data)
	status, text := send(http.MethodPut, c.Prism2, "/content/put/"+hash+".bin", data)
	require.Equal(t, http.StatusCreated, status, text)
	a := c.Prism1.Login()
	placed := detail(a, hash).Map
	require.Len(t, placed, 1)
	require.True(t, strings.HasPrefix(placed[0], "prism2:"), "on one of this prism's stores: %v", placed)

	res, body := a.Post("/content/download", map[string]string{"hash": hash})
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", body)
	require.True(t, bytes.Equal(data, body), "from a store of the other prism")

	from := c.Store3
	if placed[0] == "prism2:store4" {
		from = c.Store4
	}
	status, text = send(http.MethodPost, from, "/content/send", []byte(`{"file":"`+hash+`.bin","store":"prism1:store1"}`))
	require.Equal(t, http.StatusOK, status, text)
	require.Contains(t, text, "Clone sent")
	eventually(t, func() bool { return detail(a, hash).Count == 2 }, "the clone that was sent is known")
	require.Contains(t, detail(a, hash).Map, "prism1:store1")
	status, text = send(http.MethodPost, c.Store1, "/content/download", []byte(`{"hash":"`+hash+`"}`))
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, string(data), text)
}
