package adminapi

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// systemUser returns the operating system's user at the other end of a
// connection of this machine, "" where that is elsewhere.
func systemUser(r *http.Request) (string, error) {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return "", nil
	}
	if local.Network() == "unix" {
		return unixUsers(local.String())
	}
	theirs, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "", nil //nolint:nilerror // not an address of this kind: nothing is told
	}
	theirs = netip.AddrPortFrom(theirs.Addr().Unmap(), theirs.Port())
	if !theirs.Addr().IsLoopback() {
		return "", nil
	}
	return loopbackUser(theirs)
}

// unixUsers names who is connected to a socket of this process. Which of its
// connections brought a request, the web server does not tell; there is nearly
// always one, and else all of them are named.
func unixUsers(path string) (string, error) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return "", err
	}
	var names []string
	for _, entry := range fds {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		own, err := unix.Getsockname(fd)
		if at, ok := own.(*unix.SockaddrUnix); err != nil || !ok || at.Name != path {
			continue
		}
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens != 0 {
			continue
		}
		peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			continue
		}
		if name := userName(peer.Uid); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " or "), nil
}

// loopbackUser finds who has the other end of a TCP connection of this machine.
func loopbackUser(theirs netip.AddrPort) (string, error) {
	var failures []error
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		name, err := lookUser(table, theirs)
		if name != "" {
			return name, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, err)
		}
	}
	return "", errors.Join(failures...)
}

// lookUser reads one of the kernel's tables of TCP sockets: the second field of
// a line is its own end, the eighth its user.
func lookUser(table string, theirs netip.AddrPort) (string, error) {
	f, err := os.Open(table)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		at, ok := kernelAddr(fields[1])
		if !ok || at != theirs {
			continue
		}
		uid, err := strconv.ParseUint(fields[7], 10, 32)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", table, err)
		}
		return userName(uint32(uid)), nil
	}
	return "", lines.Err()
}

// kernelAddr reads an address as the tables have it: words of four bytes in the
// machine's order, a colon, and the port.
func kernelAddr(text string) (netip.AddrPort, bool) {
	digits, portText, ok := strings.Cut(text, ":")
	words, err := hex.DecodeString(digits)
	port, portErr := strconv.ParseUint(portText, 16, 16)
	if !ok || err != nil || portErr != nil || len(words)%4 != 0 {
		return netip.AddrPort{}, false
	}
	if littleEndian {
		for i := 0; i < len(words); i += 4 {
			slices.Reverse(words[i : i+4])
		}
	}
	addr, ok := netip.AddrFromSlice(words)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), ok
}

// userName names a user by the machine's list of users, or by the number.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}
