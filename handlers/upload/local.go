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
	return &localFile{file: f, volume: l.volume, clone: c, release: release}, nil
}

// localFile is a clone that is being read.
type localFile struct {
	file    *os.File
	volume  *inventory.Volume
	clone   inventory.Clone
	read    int64
	release func()
}

// Read has the volume look at a clone that fails, or ends too early.
func (f *localFile) Read(p []byte) (int, error) {
	n, err := f.file.Read(p)
	f.read += int64(n)
	if err == io.EOF && f.read < f.clone.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		f.volume.Failed(f.clone.Hash, err)
	}
	return n, err
}

func (f *localFile) Close() error {
	defer f.release()
	return f.file.Close()
}

func (l local) Renew(ctx context.Context, h content.Hash) (inventory.Clone, bool, error) {
	release, err := l.acquire()
	if err != nil {
		return inventory.Clone{}, false, err
	}
	defer release()
	return l.volume.Renew(ctx, h)
}
