package node

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// parts is every goroutine of a node: each the Run of one of its parts.
type parts struct {
	group errgroup.Group
}

// spawn runs a part of the node until stop is called, which waits for its end.
// A part that ends before is a failure that log and status tell; the others go
// on, because most of a node is useful without one of them.
func (n *Node) spawn(name string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.parts.group.Go(func() error {
		defer close(done)
		err := run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errors.New("it ended without being told to")
		}
		n.log.Error("a part of the node has ended; restart the node", zap.String("part", name), zap.Error(err))
		n.mu.Lock()
		defer n.mu.Unlock()
		n.failed = append(n.failed, name+": "+err.Error())
		return nil
	})
	return func() {
		cancel()
		<-done
	}
}

// start runs the domains, which the engine outlives.
func (n *Node) start() {
	n.stopDomains = []func(){
		n.spawn("purchases", n.Book.Run),
		n.spawn("registry", n.Registry.Run),
		n.spawn("registration", n.runRegistration),
		n.spawn("audit log", n.Audit.Run),
		n.spawn("forgotten stores", n.runForgotten),
		n.spawn("former owners", n.runFormer),
		n.spawn("repair", n.repair.Run),
	}
	if n.others != nil {
		n.stopDomains = append(n.stopDomains, n.spawn("demand", n.others.demand.Run))
	}
}

// uploadsEnd is how long closing waits for what uploads left behind on disks
// that hang.
const uploadsEnd = 10 * time.Second

// Close ends all that runs and closes what Open opened, in reverse. Nothing
// may use the node any more.
func (n *Node) Close() error {
	for _, stop := range n.stopDomains {
		stop()
	}
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), uploadsEnd)
	defer cancel()
	if n.uploader != nil {
		errs = append(errs, n.uploader.Close(ctx))
	}
	errs = append(errs, n.closeOthers(ctx)...)
	for _, v := range n.volumes.all() {
		n.volumes.release(v)
	}
	for _, closeDomain := range n.closeDomains {
		closeDomain()
	}
	if n.stopEngine != nil {
		n.stopEngine()
	}
	_ = n.parts.group.Wait() // spawn told its errors
	if n.Audit != nil {
		errs = append(errs, n.Audit.Close())
	}
	if n.engine != nil {
		errs = append(errs, n.engine.Close())
	}
	return errors.Join(errs...)
}
