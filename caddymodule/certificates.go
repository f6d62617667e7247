package caddymodule

import (
	"github.com/ooseio/oose/caddymodule/certstorage"
	"github.com/ooseio/oose/node"
)

// DataFolder is where the node keeps what it must remember.
func (app *App) DataFolder() string { return app.Data }

// shareCertificates gives `storage oose` the engine of the node, until what it
// returns is called.
func shareCertificates(n *node.Node) (stop func()) {
	return certstorage.Attach(n.Engine(), n.Ready)
}
