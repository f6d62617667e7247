package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb"
)

// engine keeps the records. Which one it is, only this package knows.
type engine interface {
	record.Engine
	record.Importer
	record.Dropper
	record.Confirmer
	Source() string
	Run(ctx context.Context) error
	Close() error
}

// openEngine opens where records are kept.
func (n *Node) openEngine() error {
	if n.cfg.Engine.Kind == EngineRedis {
		return n.openRedis()
	}
	j, err := journal.Open(journal.Options{
		Dir:    n.cfg.Engine.Folder,
		Clock:  n.clock,
		Logger: n.log.Named("journal"),
		// Also of one that is alone so far: a copy of its database may be restored
		// when it no longer is.
		Cluster: true,
	})
	if errors.Is(err, journal.ErrLocked) {
		return fmt.Errorf("opening %s: another process, perhaps a running node, has it open: %w", n.cfg.Engine.Folder, err)
	}
	if err != nil {
		return fmt.Errorf("opening the engine: %w", err)
	}
	n.journal, n.engine = j, j
	n.stopEngine = n.spawn("engine", j.Run)
	return nil
}

// sourceFile holds, in the data folder, under which identity a node writes
// into Redis. The journal has its own in its database.
const sourceFile = "source"

// openRedis prepares the engine on Redis. One that is away is a state, not an
// error.
func (n *Node) openRedis() error {
	source, err := localSource(filepath.Join(n.cfg.Data, sourceFile))
	if err != nil {
		return err
	}
	e, err := redisdb.Open(redisdb.Options{
		URL: n.cfg.Engine.URL, Prefix: n.cfg.Engine.Prefix, Source: source,
		Clock: n.clock, Logger: n.log.Named("journal"),
	})
	if err != nil {
		return fmt.Errorf("opening the engine: %w", err)
	}
	n.redis, n.engine = e, e
	n.stopEngine = n.spawn("engine", e.Run)
	return nil
}

// localSource reads the identity kept in a file, or makes it.
func localSource(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(strings.ToLower(rand.Text()) + "\n")
		err = writeFile(path, b)
	}
	if err != nil {
		return "", fmt.Errorf("reading the source of this node's records: %w", err)
	}
	source := strings.TrimSpace(string(b))
	if source == "" || len(source) > record.MaxKey {
		return "", fmt.Errorf("reading the source of this node's records: %s is damaged; restore it, or remove it to have a new one", path)
	}
	return source, nil
}
