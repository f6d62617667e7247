package caddymodule

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// unmapProgram takes the pages of the program's file, of which the start reads
// most and what comes after only some, out of this process' tables. They stay in
// the kernel's cache, and are mapped again when they are needed. What was written
// to is not touched.
func unmapProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("finding the program's file: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("reading what is mapped: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		// start-end permissions offset device inode path
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[5] != program || strings.Contains(fields[1], "w") {
			continue
		}
		var start, end uintptr
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &start, &end); err != nil {
			return fmt.Errorf("reading what is mapped: %w", err)
		}
		// MADV_DONTNEED on a private mapping of a file that nothing was written to
		// has the next access read the file: madvise(2).
		if _, _, code := syscall.Syscall(syscall.SYS_MADVISE, start, end-start, syscall.MADV_DONTNEED); code != 0 {
			return fmt.Errorf("giving back what is mapped: %w", code)
		}
	}
	return nil
}
