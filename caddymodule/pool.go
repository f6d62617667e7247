package caddymodule

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/ooseio/oose/caddymodule/residency"
	"github.com/ooseio/oose/node"
)

// nodes holds the node while configurations and requests use it. One node is
// one process, so there is one key.
var nodes = caddy.NewUsagePool()

type poolKey struct{}

// oneNode is locked from before the node is opened until it is closed: the
// next one, which may have the same folder, waits for that.
var oneNode sync.Mutex

// pooled is the node with the streams of all configurations.
type pooled struct {
	*node.Node
	streams streams
}

// Destruct closes the node, when nobody uses it any more.
func (p *pooled) Destruct() error {
	defer oneNode.Unlock()
	p.streams.close()
	return p.Close()
}

// openNode takes a reference to the node, which it opens where it isn't open.
// releaseNode gives it back.
func openNode(cfg *node.Config, log *zap.Logger) (*pooled, error) {
	value, _, err := nodes.LoadOrNew(poolKey{}, func() (caddy.Destructor, error) {
		oneNode.Lock()
		n, err := node.Open(context.Background(), *cfg, log)
		if err != nil {
			oneNode.Unlock()
			return nil, err
		}
		p := &pooled{Node: n}
		p.streams.init()
		return p, nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the node: %w", err)
	}
	return value.(*pooled), nil
}

// releaseNode gives back one reference to the node.
func releaseNode() {
	if _, err := nodes.Delete(poolKey{}); err != nil {
		caddy.Log().Named("oose").Error("closing the node", zap.Error(err))
	}
}

// returnMemory gives back to the system what the start of the process took and
// holds no more: what its packages and the first configuration were made with. It
// is a fifth of an idle node's own memory, and Go would keep it for what may come.
// The start does not wait for it: Cleanup does.
func (app *App) returnMemory() {
	if _, err := activeApp(); err == nil {
		return // a configuration of ours was in force before
	}
	app.tidying.Go(func() {
		debug.FreeOSMemory()
		if err := residency.Trim(); err != nil {
			app.log.Debug("giving back memory after the start", zap.Error(err))
		}
	})
}

// running returns the node that is open, without a reference; nil where none
// is.
func running() *pooled {
	var p *pooled
	nodes.Range(func(_, value any) bool {
		p, _ = value.(*pooled)
		return false
	})
	return p
}

// checkRestart refuses settings that the running node can't take over.
func checkRestart(cfg *node.Config) error {
	p := running()
	if p == nil {
		return nil
	}
	return p.CheckReload(cfg)
}
