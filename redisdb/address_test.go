package redisdb

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddress(t *testing.T) {
	for text, want := range map[string]address{
		"redis://127.0.0.1":                            {hosts: []string{"127.0.0.1:6379"}},
		"redis://r1:7000/3":                            {hosts: []string{"r1:7000"}, db: 3},
		"redis://[::1]":                                {hosts: []string{"[::1]:6379"}},
		"redis://[::1]:7000/":                          {hosts: []string{"[::1]:7000"}},
		"redis://:pw@r1":                               {hosts: []string{"r1:6379"}, password: "pw"},
		"redis://oose:p%40:%2F%25@r1/0":                {hosts: []string{"r1:6379"}, user: "oose", password: "p@:/%"},
		"redis://oose:p@w@r1":                          {hosts: []string{"r1:6379"}, user: "oose", password: "p@w"},
		"rediss://r1?ca=/a.pem&cert=/b.pem&key=/c.pem": {tls: true, hosts: []string{"r1:6379"}, ca: "/a.pem", cert: "/b.pem", key: "/c.pem"},
		"redis+sentinel://:pw@r1:26379,r2/1?master=oose&sentinel_password=x&sentinel_user=y": {
			mode: sentinels, hosts: []string{"r1:26379", "r2:26379"}, db: 1, password: "pw", master: "oose", sentinelPassword: "x", sentinelUser: "y"},
		"rediss+cluster://r1,r2:7000/0": {mode: cluster, tls: true, hosts: []string{"r1:6379", "r2:7000"}},
	} {
		got, err := parseAddress(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

func TestAddressRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "redis://",
		"r1:6379":                           "redis://",
		"http://r1":                         "redis or rediss",
		"redis+x://r1":                      "sentinel or cluster",
		"redis+://r1":                       "no scheme",
		"redis://":                          "a host is written",
		"redis://r1:0":                      "a host is written",
		"redis://r1:70000":                  "a host is written",
		"redis://r1:x":                      "a host is written",
		"redis://r1,":                       "a host is written",
		"redis://::1":                       "a host is written",
		"redis://r1,r2":                     "redis+cluster://",
		"redis://r1/x":                      "number of the database",
		"redis://r1/-1":                     "number of the database",
		"redis+cluster://r1/1":              "database 0",
		"redis+sentinel://r1/0":             "names the master",
		"redis+sentinel://r1/0?master=":     "one value",
		"redis://r1?master=oose":            "unknown here",
		"redis://r1?timeout=5s":             "unknown here",
		"redis://r1?%zz":                    "name=value",
		"redis://:hunter2%zz@r1":            "%25",
		"redis://:hunter2@r1:x":             "a host is written",
		"redis://:hunter2@r1?a=hunter2":     "unknown here",
		"redis://r1?ca=/a":                  "rediss",
		"rediss://r1?cert=/a":               "go together",
		"redis+sentinel://:hunter2@r1:26/0": "names the master",
	} {
		err := Check(text)
		require.ErrorContains(t, err, want, text)
		require.ErrorIs(t, err, errAddress)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func FuzzAddress(f *testing.F) {
	for _, text := range []string{"redis://:pw@r1:6379/0", "redis+sentinel://a,b/0?master=m", "rediss+cluster://[::1]:1,b?ca=x", "redis://@/?"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text)
		if err != nil {
			return
		}
		require.NotEmpty(t, a.hosts)
		for _, h := range a.hosts {
			require.NotContains(t, h, "@")
			require.False(t, strings.HasPrefix(h, ":"))
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		opts Options
		want string
	}{
		"address":     {Options{URL: "x", Source: "s"}, "address of redis"},
		"prefix":      {Options{URL: "redis://x", Source: "s", Prefix: "{a}"}, "prefix"},
		"no source":   {Options{URL: "redis://x"}, "source"},
		"source":      {Options{URL: "redis://x", Source: "a\x00"}, "source"},
		"ca":          {Options{URL: "rediss://x?ca=/nowhere/ca.pem", Source: "s"}, "reading the CA"},
		"certificate": {Options{URL: "rediss://x?cert=/nowhere/a&key=/nowhere/b", Source: "s"}, "certificate"},
	} {
		_, err := Open(c.opts)
		require.ErrorContains(t, err, c.want, name)
	}
}
