// Package certstorage keeps the certificates of Caddy in the engine of the
// node, so that several nodes serve one name: the module `caddy.storage.oose`.
package certstorage

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"

	"github.com/ooseio/oose/record"
)

func init() {
	caddy.RegisterModule(new(Storage))
}

// Storage keeps certificates, their keys and what else Caddy stores of TLS in
// the records of the node, which all nodes of a cluster share. A copy of it all
// lies in the node's data folder, so that a node starts, and serves, while the
// engine is away; what is stored meanwhile goes into the engine when it is back.
//
// Locks hold on all nodes with the engine `redis`; with `badger` they hold among
// nodes that reach one another.
type Storage struct {
	// The folder of the local copy. Default: `certificates` in the data folder
	// of the app `oose`.
	Folder string `json:"folder,omitempty"`

	keeper *Keeper
	folder string // of the keeper that this holds
}

// keepers holds the keepers that configurations use, by folder. They share one:
// so a new configuration finds what the one before knows.
var keepers = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*Storage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.storage.oose",
		New: func() caddy.Module { return new(Storage) },
	}
}

// UnmarshalCaddyfile sets up the storage. Syntax, among the global options:
//
//	storage oose {
//		folder <folder>
//	}
func (s *Storage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the storage's name
	if d.NextArg() {
		return d.Errf("storage oose has %q too much, write: storage oose, or: storage oose { folder <folder> }", d.Val())
	}
	for d.NextBlock(0) {
		switch d.Val() {
		case "folder":
			if s.Folder != "" {
				return d.Err("folder is given twice, keep one")
			}
			if !d.AllArgs(&s.Folder) {
				return d.Err("folder has one argument, write: folder <folder>")
			}
		default:
			return d.Errf("storage oose has no setting %q, it has: folder", d.Val())
		}
	}
	return nil
}

// dataKeeper is the app `oose`, as the storage needs it.
type dataKeeper interface {
	// DataFolder is where the node keeps what it must remember.
	DataFolder() string
}

// Provision finds the local copy. It opens no engine and writes nothing: the
// configuration may only be looked at, also beside a running node.
func (s *Storage) Provision(ctx caddy.Context) error {
	folder, err := caddy.NewReplacer().ReplaceOrErr(s.Folder, true, true)
	if err != nil {
		return fmt.Errorf("storage oose: folder: %w", err)
	}
	if folder == "" {
		if folder, err = defaultFolder(ctx); err != nil {
			return err
		}
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return fmt.Errorf("storage oose: finding the folder: %w", err)
	}
	log := ctx.Logger()
	value, _, err := keepers.LoadOrNew(folder, func() (caddy.Destructor, error) {
		return pooled{NewKeeper(folder, log)}, nil
	})
	if err != nil {
		return err
	}
	s.keeper, s.folder = value.(pooled).Keeper, folder
	if !configured(ctx) {
		// A command that reads or writes certificates beside no configuration.
		return s.keeper.local.persist()
	}
	return nil
}

// defaultFolder is in the data folder of the app, or in the one that it has by
// default. The app may come later, with a handler.
func defaultFolder(ctx caddy.Context) (string, error) {
	data := filepath.Join(caddy.AppDataDir(), "oose")
	app, err := ctx.AppIfConfigured("oose")
	switch {
	case err == nil:
		node, ok := app.(dataKeeper)
		if !ok {
			return "", errors.New("storage oose: the app oose is another module's")
		}
		data = node.DataFolder()
	case !errors.Is(err, caddy.ErrNotConfigured):
		return "", err
	}
	return filepath.Join(data, "certificates"), nil
}

// configured tells whether there is a configuration at all. Caddy's commands
// `storage export` and `storage import` load a storage without one, and
// without a configuration every call gets file systems of its own.
func configured(ctx caddy.Context) bool { return ctx.FileSystems() == ctx.FileSystems() }

// CertMagicStorage returns what keeps the certificates.
func (s *Storage) CertMagicStorage() (certmagic.Storage, error) { return s.keeper, nil }

// Cleanup lets go of the keeper.
func (s *Storage) Cleanup() error {
	if s.keeper == nil {
		return nil
	}
	s.keeper = nil
	_, err := keepers.Delete(s.folder)
	return err
}

// pooled is a keeper in the pool.
type pooled struct{ *Keeper }

// Destruct does nothing: who attached the engine detaches it.
func (pooled) Destruct() error { return nil }

// Attach gives all storages of this process the engine of its node, which is
// open until detach has returned. ready tells whether the engine knows what the
// cluster knows.
func Attach(e record.Engine, ready func() bool) (detach func()) {
	var detaches []func()
	keepers.Range(func(_, value any) bool {
		detaches = append(detaches, value.(pooled).Attach(e, ready))
		return true
	})
	return func() {
		for _, detach := range detaches {
			detach()
		}
	}
}

// Interface guards
var (
	_ caddy.Provisioner      = (*Storage)(nil)
	_ caddy.CleanerUpper     = (*Storage)(nil)
	_ caddy.StorageConverter = (*Storage)(nil)
	_ caddyfile.Unmarshaler  = (*Storage)(nil)
)
