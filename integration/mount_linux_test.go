package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// mountsEnv tells a node what to mount before it starts: specs of the form
// "<size> <folder>" for a tmpfs, or "<file> <file>" for one in place of another,
// one a line.
const mountsEnv = "OOSE_TEST_MOUNTS"

// isolate gives a node with mounts a mount namespace of its own (and, without
// root, a user namespace to be root in). The mounts end with the process; the
// test reaches them below /proc/<pid>/root.
func isolate(cmd *exec.Cmd, mounts []string) {
	if len(mounts) == 0 {
		return
	}
	cmd.Env = append(cmd.Env, mountsEnv+"="+strings.Join(mounts, "\n"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
}

// prepareMounts makes what mountsEnv asks for.
func prepareMounts() error {
	specs := os.Getenv(mountsEnv)
	if specs == "" {
		return nil
	}
	// Nothing of this shall reach the namespace that we came from.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	for spec := range strings.Lines(specs) {
		size, folder, ok := strings.Cut(strings.TrimSpace(spec), " ")
		if !ok {
			return errors.New("a mount is \"<size> <folder>\" or \"<file> <file>\"")
		}
		if strings.HasPrefix(size, "/") {
			if err := syscall.Mount(size, folder, "", syscall.MS_BIND, ""); err != nil {
				return fmt.Errorf("mounting %s: %w", folder, err)
			}
			continue
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size="+size); err != nil {
			return fmt.Errorf("mounting %s: %w", folder, err)
		}
	}
	return nil
}
