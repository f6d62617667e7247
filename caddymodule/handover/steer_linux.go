package handover

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// steer has all new connections to a socket's port go to the socket with this
// index among those of the port; to any of them, where there is none with it.
func steer(fd int, index uint32) error {
	err := attach(fd, index)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = steerBeside(fd, index)
	}
	return err
}

// attach has the kernel ask a program for the index, which is the same for every
// connection. The port keeps the program as long as anything listens there.
func attach(fd int, index uint32) error {
	program := &unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: index}}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, program); err != nil {
		return fmt.Errorf("attaching a program to a port: %w", err)
	}
	return nil
}

// steerBeside is steer where the socket is one of Multipath TCP, as Go's
// listeners are: it can't be given a program, and the port gets it through a
// socket of plain TCP that is there for that moment. Being the last of the port
// it changes no index. What comes to it is dropped: a client whose SYN is lost
// sends it again, after a second, and it goes to the right socket.
func steerBeside(fd int, index uint32) error {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("asking for a socket's address: %w", err)
	}
	family := unix.AF_INET
	if _, ok := name.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
	}
	helper, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("opening a socket beside a port's: %w", err)
	}
	defer unix.Close(helper)
	if err := errors.Join(resemble(helper, fd, family), refuse(helper, family)); err != nil {
		return fmt.Errorf("setting up a socket beside a port's: %w", err)
	}
	if err := unix.Bind(helper, name); err != nil {
		return fmt.Errorf("binding a socket beside a port's: %w", err)
	}
	if err := unix.Listen(helper, 1); err != nil {
		return fmt.Errorf("listening beside a port's sockets: %w", err)
	}
	return attach(helper, index)
}

// resemble sets the options of a socket on which it depends whether it belongs
// to the same port as another.
func resemble(fd, other, family int) error {
	for _, o := range []struct{ level, name int }{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR}, {unix.SOL_SOCKET, unix.SO_REUSEPORT}, {unix.IPPROTO_IPV6, unix.IPV6_V6ONLY},
	} {
		if o.level == unix.IPPROTO_IPV6 && family != unix.AF_INET6 {
			continue
		}
		value, err := unix.GetsockoptInt(other, o.level, o.name)
		if err == nil {
			err = unix.SetsockoptInt(fd, o.level, o.name, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refuse has a socket drop, without a word, all that did not begin its way with
// the highest number of hops and has made none since. A filter would be stricter,
// and some kernels want a privilege for it.
func refuse(fd, family int) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 255)
	if err == nil && family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, 255)
	}
	if err != nil {
		return fmt.Errorf("having a socket drop what comes to it: %w", err)
	}
	return nil
}
