package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mediumSize is how large the media of a stage's stores are, in megabytes.
const mediumSize = 96

// stage is a cluster to which everything can happen: each node has a network
// namespace, each store a small file system of its own.
type stage struct {
	*Cluster
	t      testing.TB
	media  *media
	net    *network
	place  map[*Node]int // its number on the network
	ledger *ledger
	api    map[*Node]*API // sessions of one user, at the prisms
	views  *viewers
}

// prepareStage starts the cluster, with either engine.
func prepareStage(t testing.TB, engine, oose string) *stage {
	t.Helper()
	s := &stage{t: t, place: map[*Node]int{}, ledger: &ledger{}, api: map[*Node]*API{}}
	s.net = newNetwork(t, len(members))
	s.media = newMedia(t)
	config := ClusterConfig{Oose: oose, Place: func(i int, n *Node) {
		s.net.within(i)(n)
		s.place[n] = i
		if strings.HasPrefix(members[i-1].name, "store") {
			s.media.give(n, mediumSize)
		}
	}}
	if engine == "redis" {
		config.Engine = "engine redis " + s.net.redis()
	}
	s.Cluster = StartCluster(t, config)
	t.Cleanup(func() {
		for _, n := range s.Nodes {
			if n.Running() {
				n.Thaw() // what was frozen when the test failed shall end
			}
		}
		s.keepLogs()
	})
	session := s.Prism1.Login()
	for _, prism := range s.prisms() {
		client := prism.Client()
		client.Timeout = 2 * patience
		s.api[prism] = &API{t: t, base: prism.URL(""), HTTP: client, Token: session.Token}
	}
	return s
}

// logsEnv names a folder where the logs of a stage's nodes are kept after a
// failure: a long run has more of them than a test's output can show.
const logsEnv = "OOSE_TEST_LOGS"

func (s *stage) keepLogs() {
	folder := os.Getenv(logsEnv)
	if folder == "" || !s.t.Failed() {
		return
	}
	for name, n := range s.Nodes {
		to := filepath.Join(folder, strings.ReplaceAll(s.t.Name(), "/", "-")+"-"+name+".log")
		if err := os.WriteFile(to, []byte(n.Log()), 0o600); err != nil {
			s.t.Log(err)
		}
	}
}

func (s *stage) prisms() []*Node { return []*Node{s.Prism1, s.Prism2} }

// name is a node's name.
func (s *stage) name(n *Node) string {
	for name, other := range s.Nodes {
		if other == n {
			return name
		}
	}
	return n.Dir
}

// answer reads an object from a node's admin endpoint.
func answer(n *Node, path string, into any) error {
	client := *n.asks()
	client.Timeout = 10 * time.Second
	res, err := client.Get(n.AdminURL(path))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// look tells how a node, as all others see it, is: whether anybody chooses it,
// and whether anybody gives it new clones.
func (s *stage) look(struck *Node) (chosen, room []string) {
	name := s.name(struck)
	for other, n := range s.Nodes {
		if n == struck {
			continue
		}
		var now struct{ Peers []Peer }
		if err := answer(n, "/oose/peers", &now); err != nil {
			chosen, room = append(chosen, other+": "+err.Error()), append(room, other)
			continue
		}
		for _, p := range now.Peers {
			if p.Node == name && p.Available {
				chosen = append(chosen, other)
				if p.Room && p.Writable {
					room = append(room, other)
				}
			}
		}
	}
	return chosen, room
}

// until waits for a condition that tells what is missing, and returns how long
// that took. A viewer's failure ends it at once.
func (s *stage) until(what string, missing func() string) time.Duration {
	s.t.Helper()
	began, text, last := time.Now(), "", ""
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < 2*patience {
		if text = missing(); text == "" {
			took := time.Since(began)
			if took > patience/6 {
				s.t.Logf("%s took %s; the last that was missing: %s", what, took.Round(time.Millisecond), last)
			}
			return took
		}
		last = text
		if s.views != nil {
			require.Empty(s.t, s.views.failed(), "viewers, before: %s", what)
		}
		<-tick.C
	}
	require.Fail(s.t, "not within "+(2*patience).String()+": "+what, text)
	return 0
}

// sameRecords waits until all nodes hold the same records. With Redis they do.
func (s *stage) sameRecords() {
	s.t.Helper()
	if s.engine == "" {
		s.agree()
	}
}

// problems is what the running nodes tell of in their status.
func (s *stage) problems() string {
	var all []string
	for name, n := range s.Nodes {
		var now struct {
			Problems []struct{ Part, Name, Text string }
			Repair   repairing
		}
		if err := answer(n, "/oose/status", &now); err != nil {
			all = append(all, name+": "+err.Error())
			continue
		}
		for _, p := range now.Problems {
			all = append(all, fmt.Sprintf("%s: %s %s: %s", name, p.Part, p.Name, p.Text))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// short are contents of the ledger that have fewer clones than two, as a prism
// knows it, beside a store.
func (s *stage) short(at *Node, beside string) string {
	var short []string
	for _, e := range s.ledger.contents(present) {
		var d Detail
		if _, err := s.api[at].post("/content/detail", map[string]string{"hash": e.hash}, &d); err != nil {
			return err.Error()
		}
		if len(slices.DeleteFunc(d.Map, func(at string) bool { return strings.HasSuffix(at, ":"+beside) })) < 2 && s.ledger.still(e, present) {
			short = append(short, e.hash+" is in "+fmt.Sprint(d.Map))
		}
	}
	return strings.Join(short, "\n")
}

// clone returns the file of some clone on a store's medium, and its content,
// which is changing from then on.
func (s *stage) clone(n *Node, pick uint64) (path string, e *entry) {
	s.t.Helper()
	s.until("a content that lies on "+s.name(n)+" as well", func() string {
		var ok bool
		e, ok = s.ledger.change(pick, func(e *entry) bool {
			path = s.media.path(n, "content", e.hash[:2], e.hash[2:4], e.hash+".bin")
			_, err := os.Stat(path)
			return e.state == present && err == nil
		})
		if !ok {
			return "there is none"
		}
		return ""
	})
	return path, e
}

// spoil flips a byte of a clone behind the node's back. Who reads the file now
// reads on as it was.
func spoil(path string, keepTime bool) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	next := filepath.Join(filepath.Dir(path), "spoilt")
	if err := os.WriteFile(next, data, info.Mode()); err != nil {
		return err
	}
	if keepTime {
		if err := os.Chtimes(next, info.ModTime(), info.ModTime()); err != nil {
			return err
		}
	}
	return os.Rename(next, path)
}

// whole tells what keeps a file from being what its content is.
func whole(path string, e *entry) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if sha256Of(data) != e.hash {
		return path + " is not as it was"
	}
	return ""
}
