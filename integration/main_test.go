// Package integration holds the tests that start real nodes: each a process of
// its own, with its own folder and its own ports, driven over HTTP, through
// the commands, by the published SDK and by a browser.
//
// The test binary is the node as well: started with the variable
// OOSE_TEST_NODE set it does what cmd/oose does, so that a run under the race
// detector watches the nodes too.
package integration

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/ooseio/oose/cmd/oose/oosecmd"
)

// asNode is the environment variable that makes this binary a node.
const asNode = "OOSE_TEST_NODE"

// shared is a folder for what several tests use and is costly to make.
var shared string

func TestMain(m *testing.M) {
	if os.Getenv(asNode) != "" {
		if err := prepareMounts(); err != nil {
			fmt.Fprintln(os.Stderr, "mounting for the test:", err)
			os.Exit(2)
		}
		if err := prepareClock(); err != nil {
			fmt.Fprintln(os.Stderr, "setting the clock of the test:", err)
			os.Exit(2)
		}
		oosecmd.Main()
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if shared, err = os.MkdirTemp("", "oose-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer os.RemoveAll(shared)
	flag.Parse()
	explicit := false
	flag.Visit(func(f *flag.Flag) { explicit = explicit || f.Name == "test.parallel" })
	if !explicit {
		// parallel and early limit what runs at the same time.
		if err := flag.Set("test.parallel", "1000"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
	}
	return m.Run()
}

// turns are as many as tests may run beside each other, those of early not
// counted. Most of a test's time is a wait for what nodes do by the clock, so
// that the processors have room for more than one test each.
var turns = make(chan struct{}, 4)

// parallel is t.Parallel for tests that take their turn.
func parallel(t *testing.T) {
	t.Helper()
	t.Parallel()
	began := time.Now()
	turns <- struct{}{}
	began, waited := time.Now(), time.Since(began)
	t.Cleanup(func() {
		<-turns
		t.Logf("took %.1f s, after %.1f s for its turn", time.Since(began).Seconds(), waited.Seconds())
	})
}

// early is t.Parallel for the few tests that take minutes and little of the
// processors: begun before all others, wherever the shuffled order has them,
// they end before the others do.
func early(t *testing.T) {
	t.Helper()
	t.Parallel()
}
