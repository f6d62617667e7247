// Package integration holds the tests that start real nodes: each a process of
// its own, with its own folder and its own ports, driven over HTTP, through
// the commands, by the published SDK and by a browser.
//
// The test binary is the node as well: started with the variable
// OOSE_TEST_NODE set it does what cmd/oose does, so that a run under the race
// detector watches the nodes too.
package integration

import (
	"fmt"
	"os"
	"testing"

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
	return m.Run()
}
