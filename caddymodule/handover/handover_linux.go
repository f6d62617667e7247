package handover

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	tick    = 10 * time.Millisecond // between two looks at what waits
	looks   = 10                    // in a row must have seen nothing
	longest = 5 * time.Second       // Begin waits: a SYN may come from somebody who never goes on
	unseen  = time.Second           // Begin waits where it can't see who shakes hands: far above any round trip
)

// Handover is one that has begun: new connections go to the new sockets.
type Handover struct {
	pairs []pair
}

// pair is the two sockets of a port while a configuration replaces another:
// descriptors of our own, which are valid whoever closes what.
type pair struct {
	at        address
	old, next int
}

// Keep has new connections go to the listeners, which are those of a
// configuration that has started, until Begin: also while another configuration
// opens the same ports and may yet fail. active are the listeners of the
// configuration that runs so far; the ports that it has too are let alone.
func Keep(listeners, active []net.Listener, log *zap.Logger) {
	shared := describe(active, log)
	defer shared.close()
	ours := describe(listeners, log)
	defer ours.close()
	open, err := listening()
	if err != nil {
		unseenPorts(log, err)
		return
	}
	for at, fds := range ours {
		if len(shared[at]) > 0 || len(fds) != 1 || open[at] != 1 {
			continue
		}
		if err := steer(fds[0], 0); err != nil {
			log.Debug("keeping connections at a port", zap.Stringer("port", at), zap.Error(err))
		}
	}
}

// Begin has new connections go to the sockets in next of those ports that are
// in both, and waits until no connection waits at the old sockets, whose server
// must still be accepting, nor in that server: silent tells how many of those that
// it accepted lately have not brought a request. It never waits for long; what
// waits after that is lost when the old server is stopped, as all of it would have
// been. Finish must be called then.
func Begin(old, next []net.Listener, silent func() int, log *zap.Logger) *Handover {
	h := &Handover{pairs: pairs(old, next, log)}
	if len(h.pairs) == 0 {
		return h
	}
	began := time.Now()
	if left := h.drain(began, silent); left > 0 {
		log.Info("a reload does not wait for these connections any longer", zap.Int("connections", left))
	}
	log.Debug("the ports are handed over", zap.Int("ports", len(h.pairs)), zap.Duration("took", time.Since(began)))
	return h
}

// Finish has the new sockets keep what comes, as Keep does. An old one that is
// not closed yet listens no longer: that the new one is the first must be certain.
// Nil has nothing to finish.
func (h *Handover) Finish() {
	if h == nil {
		return
	}
	for _, p := range h.pairs {
		_ = unix.Shutdown(p.old, unix.SHUT_RD)
		_ = unix.Close(p.old)
		_ = steer(p.next, 0) // it could be steered before
		_ = unix.Close(p.next)
	}
	h.pairs = nil
}

// unseenPorts tells why nothing is done: a port that another process has as well
// must be let alone.
func unseenPorts(log *zap.Logger, err error) {
	log.Warn("a reload may lose connections that wait at a port: the sockets that listen can't be listed; allow the process netlink sockets (with systemd, add AF_NETLINK to RestrictAddressFamilies)", zap.Error(err))
}

// pairs steers each port that is in both and returns those.
func pairs(old, next []net.Listener, log *zap.Logger) (list []pair) {
	from := describe(old, log)
	defer from.close()
	to := describe(next, log)
	defer to.close()
	open, err := listening()
	if err != nil {
		unseenPorts(log, err)
		return nil
	}
	for at, fds := range to {
		if len(fds) != 1 || len(from[at]) != 1 || same(fds[0], from[at][0]) {
			continue
		}
		if open[at] != 2 {
			log.Debug("a port is not handed over: other processes have it too", zap.Stringer("port", at))
			continue
		}
		// The kernel has the sockets of a port in the order in which they began
		// to listen, and puts the last in the place of one that is closed.
		if err := steer(fds[0], 1); err != nil {
			log.Warn("a port is not handed over", zap.Stringer("port", at), zap.Error(err))
			continue
		}
		list = append(list, pair{at: at, old: from[at][0], next: fds[0]})
		delete(from, at) // they are the pair's now
		delete(to, at)
	}
	return list
}

// drain waits until no connection waits at the old sockets and in their server. It
// returns how many do when the time is over.
func (h *Handover) drain(began time.Time, silent func() int) int {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	ports := make(map[uint16]bool)
	for _, p := range h.pairs {
		ports[p.at.port] = true
	}
	// early are the handshakes that were there shortly after the ports were
	// steered: some are with the old sockets, and only those are waited for, as
	// new ones never cease to come.
	var early map[handshake]struct{}
	// What is on its way from the handshake to the queue, from there to the
	// server, or from the first request's last byte to its handler is nowhere
	// seen, but it is on its way for a moment only.
	for calm := 0; calm < looks; calm++ {
		<-ticker.C
		var blind bool
		if early == nil || len(early) > 0 { // looking at all handshakes costs more the more connections there are
			now, err := handshakes(ports)
			blind = err != nil && time.Since(began) < unseen
			switch {
			case err != nil:
			case early == nil:
				early = now
			default:
				maps.DeleteFunc(early, func(k handshake, _ struct{}) bool { _, still := now[k]; return !still })
			}
		}
		waiting, err := h.queued()
		blind = blind || err != nil && time.Since(began) < unseen
		left := len(early) + waiting + silent()
		if time.Since(began) > longest {
			return left
		}
		if blind || left > 0 {
			calm = -1
		}
	}
	return 0
}

// queued counts the connections that no server has accepted.
func (h *Handover) queued() (n int, err error) {
	for _, p := range h.pairs {
		// Of a socket that listens these are its queue.
		info, infoErr := unix.GetsockoptTCPInfo(p.old, unix.IPPROTO_TCP, unix.TCP_INFO)
		if infoErr != nil {
			err = infoErr // Multipath TCP of older kernels does not tell
			continue
		}
		n += int(info.Unacked)
	}
	return n, err
}

// sockets are descriptors of our own, by their address.
type sockets map[address][]int

// describe returns the sockets of those listeners which share their port. The
// caller closes what it does not keep.
func describe(listeners []net.Listener, log *zap.Logger) sockets {
	s := make(sockets)
	for _, l := range listeners {
		tcp := socketOf(l)
		if tcp == nil {
			log.Debug("a listener leads to no TCP socket", zap.Stringer("address", l.Addr()), zap.String("type", fmt.Sprintf("%T", l)))
			continue
		}
		fd, at, err := duplicate(tcp)
		if err != nil {
			log.Debug("looking at a listener", zap.Stringer("address", l.Addr()), zap.Error(err))
			continue
		}
		s[at] = append(s[at], fd)
	}
	return s
}

func (s sockets) close() {
	for _, fds := range s {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
}

// duplicate returns a descriptor of our own of a listener's socket.
func duplicate(l *net.TCPListener) (fd int, at address, err error) {
	conn, err := l.SyscallConn()
	if err != nil {
		return 0, at, fmt.Errorf("getting the socket: %w", err)
	}
	controlErr := conn.Control(func(theirs uintptr) {
		fd, err = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return 0, at, fmt.Errorf("duplicating the socket: %w", err)
	}
	if at, err = addressOf(fd); err != nil {
		_ = unix.Close(fd)
		return 0, at, err
	}
	return fd, at, nil
}

// errAlone says that Caddy did not open a socket, it was given it: the same one
// serves one configuration after the other, and nothing is lost with it.
var errAlone = errors.New("the socket does not share its port")

// addressOf returns the address of a socket that shares its port.
func addressOf(fd int) (at address, err error) {
	shares, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	if err != nil {
		return at, fmt.Errorf("asking whether a socket shares its port: %w", err)
	}
	if shares == 0 {
		return at, errAlone
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return at, fmt.Errorf("asking for a socket's address: %w", err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		at.family, at.port = unix.AF_INET, uint16(name.Port)
		copy(at.ip[:], name.Addr[:])
	case *unix.SockaddrInet6:
		at.family, at.port, at.ip = unix.AF_INET6, uint16(name.Port), name.Addr
	default:
		return at, fmt.Errorf("a socket's address is a %T", name)
	}
	return at, nil
}

// same tells whether two descriptors are of one socket, or may be.
func same(a, b int) bool {
	cookieA, errA := unix.GetsockoptUint64(a, unix.SOL_SOCKET, unix.SO_COOKIE)
	cookieB, errB := unix.GetsockoptUint64(b, unix.SOL_SOCKET, unix.SO_COOKIE)
	return errA != nil || errB != nil || cookieA == cookieB
}
