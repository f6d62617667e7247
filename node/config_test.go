package node

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

const someHash = "$2a$04$8yhB5ObHGIKYBmxWGsSX0OfkaXYdB6TEcR8SLhMtGQYTHHeAyyTgC"

func parse(t *testing.T, text string) Config {
	t.Helper()
	var c Config
	require.NoError(t, json.Unmarshal([]byte(text), &c))
	return c
}

func TestValidate(t *testing.T) {
	right := []string{
		`{}`,
		`{"name":"edge1","domain":"oose.example","url":"https://cdn.oose.example/videos"}`,
		`{"engine":{"kind":"redis","url":"redis+cluster://a:1,b:2"}}`,
		`{"stores":[{"name":"a","root":"/a"},{"name":"b","root":"/b"}]}`,
		`{"cluster":{"join":["dns+srv://_oose._tcp.oose.example","http://10.0.0.1:5971"]}}`,
		`{"heartbeat":{"off":true}}`,
		`{"demand":{"off":true}}`,
		`{"demand":{"above":1,"stores":16}}`,
		`{"users":{"alice":"` + someHash + `"}}`,
	}
	for _, text := range right {
		c := parse(t, text)
		require.NoError(t, c.Validate(), text)
		c.SetDefaults()
		require.NoError(t, c.Validate(), "with defaults: %s", text)
	}
	for text, want := range map[string]string{
		`{"name":"Edge"}`:                           "name:",
		`{"site":"a b"}`:                            "site:",
		`{"group":"-"}`:                             "group:",
		`{"domain":"a..b"}`:                         "domain:",
		`{"url":"ftp://x"}`:                         "url:",
		`{"url":"https://u:p@x"}`:                   "url:",
		`{"url":"https://x?y"}`:                     "url:",
		`{"engine":{"kind":"etcd"}}`:                "badger or redis",
		`{"engine":{"url":"redis://x"}}`:            "engine redis",
		`{"engine":{"kind":"badger","prefix":"x"}}`: "belong to the engine redis",
		`{"engine":{"kind":"redis","url":"redis://x","folder":"x"}}`:                        "belongs to the engine badger",
		`{"stores":[{"name":"a"}]}`:                                                         "no root",
		`{"stores":[{"root":"/a"}]}`:                                                        "no name",
		`{"stores":[{"name":"a","root":"/a"},{"name":"a","root":"/b"}]}`:                    "twice",
		`{"stores":[{"name":"a","root":"/a"},{"name":"b","root":"/x/../a"}]}`:               "root of store a",
		`{"cluster":{"secret":["x"]}}`:                                                      "cluster.secret",
		`{"cluster":{"secret":["0123456789abcdef","0123456789abcdef","0123456789abcdef"]}}`: "at most two",
		`{"cluster":{"address":"edge1:5971"}}`:                                              "cluster.address",
		`{"cluster":{"join":["dns+srv://"]}}`:                                               "cluster.join",
		`{"cluster":{"client_auth":{"key":"x"}}}`:                                           "both files",
		`{"content":{"hash":"crc32"}}`:                                                      "content.hash",
		`{"content":{"copies":-1}}`:                                                         "content.copies",
		`{"demand":{"above":-1}}`:                                                           "demand.above",
		`{"demand":{"stores":17}}`:                                                          "demand.stores",
		`{"demand":{"off":true,"above":5}}`:                                                 "demand: it is off",
		`{"purchase":{"zone":"A"}}`:                                                         "purchase.zone",
		`{"session":{"header":"a:b"}}`:                                                      "session.header",
		`{"session":{"keys":{"alice":"short"}}}`:                                            "session.key",
		`{"heartbeat":{"interval":"10ms"}}`:                                                 "heartbeat.interval",
		`{"heartbeat":{"timeout":"1ms"}}`:                                                   "heartbeat.timeout",
		`{"heartbeat":{"off":true,"retries":5}}`:                                            "heartbeat",
		`{"scan":{"every":5}}`:                                                              "scan.every",
		`{"scan":{"workers":65}}`:                                                           "scan.workers",
		`{"users":{"alice":"secret"}}`:                                                      "user alice",
		`{"users":{"":"` + someHash + `"}}`:                                                 "user:",
		`{"compat":"3.x"}`:                                                                  "compat",
	} {
		c := parse(t, text)
		require.ErrorContains(t, c.Validate(), want, text)
	}
}

func TestValidateTextPassesOverPlaceholders(t *testing.T) {
	c := parse(t, `{"name":"{env.NAME}","url":"{env.URL}","cluster":{"secret":["{env.S}"]},"users":{"a":"{env.H}"},"session":{"keys":{"a":"{env.K}"}}}`)
	require.NoError(t, c.ValidateText())
	require.Error(t, c.Validate())
}

func TestErrorsKeepSecrets(t *testing.T) {
	for _, text := range []string{
		`{"engine":{"kind":"redis","url":"rediss://:hunter2@"}}`,
		`{"engine":{"kind":"redis","url":"http://:hunter2@x"}}`,
		`{"cluster":{"secret":["hunter2"]}}`,
		`{"session":{"keys":{"alice":"hunter2"}}}`,
		`{"users":{"alice":"hunter2"}}`,
	} {
		c := parse(t, text)
		if err := c.Validate(); err != nil {
			require.NotContains(t, err.Error(), "hunter2")
		}
	}
}

func TestPending(t *testing.T) {
	c := parse(t, `{}`)
	require.Empty(t, c.Pending())
	c = parse(t, `{"engine":{"kind":"redis","url":"redis://x"},"stores":[{"name":"a","root":"/a","cache":"1GB"}],
		"cluster":{"secret":["0123456789abcdef"],"address":"https://a","join":["https://b"],"trust":"x","client_auth":{"certificate":"a","key":"b"}},
		"purchase":{"alone":"30s"},"heartbeat":{"retries":3},"repair":{"after":"1m"},"scrub":{"bandwidth":"1MB","every":"1d"}}`)
	require.Empty(t, c.Pending())
}
