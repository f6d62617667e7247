package residency

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Trim takes the pages of the program's file, of which the start reads
// most and what comes after only some, out of this process' tables. They stay in
// the kernel's cache, and are mapped again when they are needed. What the process
// has written to, as the dynamic linker does to parts that it protects
// afterwards, is let alone. What it could not do does no harm.
func Trim() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("finding the program's file: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("reading what is mapped: %w", err)
	}
	unwritten, err := unwrittenOf(maps, program)
	if err != nil {
		return err
	}
	for _, m := range unwritten {
		// MADV_DONTNEED on a private mapping of a file that nothing was written to
		// has the next access read the file: madvise(2).
		if _, _, code := syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, syscall.MADV_DONTNEED); code != 0 {
			return fmt.Errorf("giving back what is mapped: %w", code)
		}
	}
	return nil
}

// mapping is a part of the address space.
type mapping struct{ start, end uintptr }

// unwrittenOf returns the private mappings of a file that can't be written to and
// have no page of the process' own, by what /proc/<pid>/smaps says (proc(5)).
func unwrittenOf(smaps []byte, file string) (list []mapping, err error) {
	var m mapping
	candidate := false
	lines := bufio.NewScanner(bytes.NewReader(smaps))
	for lines.Scan() {
		line := lines.Text()
		// Either "start-end permissions offset device inode path", or "Name: value".
		fields := strings.Fields(line)
		if len(fields) >= 5 && strings.Contains(fields[0], "-") && !strings.HasSuffix(fields[0], ":") {
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &m.start, &m.end); err != nil {
				return nil, fmt.Errorf("reading what is mapped: %w", err)
			}
			candidate = strings.HasSuffix(line, " "+file) && strings.HasSuffix(fields[1], "p") && !strings.Contains(fields[1], "w")
			continue
		}
		if candidate && len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" {
			list = append(list, m)
		}
	}
	return list, lines.Err()
}
