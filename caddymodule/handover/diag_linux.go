package handover

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// address is where a TCP socket listens.
type address struct {
	family uint8
	port   uint16
	ip     [16]byte // the first four bytes for AF_INET
}

// String returns the address as it is usually written.
func (a address) String() string {
	ip := netip.AddrFrom16(a.ip)
	if a.family == unix.AF_INET {
		ip = netip.AddrFrom4([4]byte(a.ip[:4]))
	}
	return netip.AddrPortFrom(ip, a.port).String()
}

// handshake is a connection that was asked for and isn't there yet: what the
// kernel tells of its two ends, and its cookie.
type handshake [sockIDLen]byte

// The sizes of the kernel's struct inet_diag_sockid, inet_diag_req_v2 and
// inet_diag_msg. The second and the third have the first after what they begin
// with: family, protocol, two bytes and the states; family, state and two bytes.
const (
	sockIDLen  = 48
	requestLen = 8 + sockIDLen
	messageLen = 4 + sockIDLen + 20
)

// The kernel's states of TCP that are asked for.
const (
	stateSynRecv = 3
	stateListen  = 10
)

// listening counts the TCP sockets that listen at each address, those of other
// processes as well.
func listening() (map[address]int, error) {
	count := make(map[address]int)
	err := diagnose(stateListen, func(family uint8, id []byte) {
		at := address{family: family, port: binary.BigEndian.Uint16(id)}
		copy(at.ip[:], id[4:20])
		count[at]++
	})
	return count, err
}

// handshakes returns those that go on at the ports.
func handshakes(ports map[uint16]bool) (map[handshake]struct{}, error) {
	set := make(map[handshake]struct{})
	err := diagnose(stateSynRecv, func(_ uint8, id []byte) {
		if ports[binary.BigEndian.Uint16(id)] {
			set[handshake(id)] = struct{}{}
		}
	})
	if err != nil {
		return nil, err
	}
	return set, nil
}

// diagnose calls visit with the family and the struct inet_diag_sockid of all
// TCP sockets in a state.
func diagnose(state int, visit func(family uint8, id []byte)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return fmt.Errorf("opening a socket to ask for sockets: %w", err)
	}
	defer unix.Close(fd)
	// The kernel answers at once; should it not, nobody waits for it.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return fmt.Errorf("limiting the wait for an answer: %w", err)
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := ask(fd, family, state, visit); err != nil {
			return fmt.Errorf("asking for sockets: %w", err)
		}
	}
	return nil
}

// ask is diagnose for one family.
func ask(fd int, family uint8, state int, visit func(family uint8, id []byte)) error {
	request := make([]byte, unix.NLMSG_HDRLEN+requestLen)
	binary.NativeEndian.PutUint32(request[0:], uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := request[unix.NLMSG_HDRLEN:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], 1<<state)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10) // above what the kernel puts into one answer
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err == unix.EINTR { // with a deadline it is not begun again by itself
			continue
		}
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == unix.NLMSG_DONE:
				return nil
			case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
				return unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
			case m.Header.Type == unix.SOCK_DIAG_BY_FAMILY && len(m.Data) >= messageLen:
				visit(m.Data[0], m.Data[4:4+sockIDLen])
			}
		}
	}
}
