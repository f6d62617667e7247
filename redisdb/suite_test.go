package redisdb

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
	"github.com/ooseio/oose/redisdb/redistest"
)

// injecting has the suite bring what other sources wrote.
type injecting struct {
	*node
	t *testing.T
}

// Inject is recordtest.Injector's.
func (i injecting) Inject(records ...record.Record) {
	require.NoError(i.t, i.Import(context.Background(), records))
}

func runSuite(t *testing.T, url string) {
	recordtest.Run(t, func(t *testing.T) record.Engine {
		return injecting{open(t, url, "me", own(t)), t}
	})
	t.Run("Reopen", func(t *testing.T) {
		prefix := own(t)
		recordtest.RunReopen(t,
			func(t *testing.T) record.Engine { return injecting{open(t, url, "me", prefix), t} },
			func(t *testing.T, e record.Engine) record.Engine {
				i, ok := e.(injecting)
				require.True(t, ok)
				i.stop()
				return injecting{open(t, url, "me", prefix), t}
			})
	})
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for _, program := range redistest.Programs(t) {
		t.Run(filepath.Base(program), func(t *testing.T) {
			runSuite(t, redistest.StartProgram(t, program).URL())
		})
	}
}

func TestSuiteSentinel(t *testing.T) {
	t.Parallel()
	runSuite(t, redistest.StartSentinel(t).URL())
}

func TestSuiteCluster(t *testing.T) {
	t.Parallel()
	runSuite(t, redistest.StartCluster(t).URL())
}
