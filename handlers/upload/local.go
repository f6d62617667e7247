package upload

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// Local is the store of a volume in this process. node and group are where it
// is.
func Local(v *inventory.Volume, node, group string) Store { return local{v, node, group} }

type local struct {
	volume      *inventory.Volume
	node, group string
}

func (l local) Target() inventory.Target {
	return inventory.Target{ID: l.volume.ID(), Node: l.node, Group: l.group, Free: l.volume.Status().Free}
}

func (l local) Readable() bool { return l.volume.Readable() }

func (l local) Writable() bool { return l.volume.Writable() }

// acquire holds the volume open.
func (l local) acquire() (release func(), err error) {
	release, ok := l.volume.Acquire()
	if !ok {
		return nil, fmt.Errorf("store %s: %w", l.volume.Name(), inventory.ErrOffline)
	}
	return release, nil
}

func (l local) Create(ctx context.Context, size int64, _ content.Type) (Sink, error) {
	temp, err := l.volume.Create(ctx, size)
	if err != nil {
		return nil, err
	}
	return temp, nil
}

func (l local) Open(ctx context.Context, c inventory.Clone) (io.ReadCloser, error) {
	release, err := l.acquire()
	if err != nil {
		return nil, err
	}
	f, err := l.volume.Open(ctx, c)
	if err != nil {
		release()
		return nil, err
	}
	return &localFile{File: f, release: release}, nil
}

type localFile struct {
	*os.File
	release func()
}

func (f *localFile) Close() error {
	defer f.release()
	return f.File.Close()
}

func (l local) Renew(ctx context.Context, h content.Hash) (inventory.Clone, bool, error) {
	release, err := l.acquire()
	if err != nil {
		return inventory.Clone{}, false, err
	}
	defer release()
	return l.volume.Renew(ctx, h)
}
