package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ooseio/oose/record"
)

// TestFullDisk runs a journal on a small file system that fills up. Badger
// writes through memory maps, so a mistake here ends the process with SIGBUS:
// all of it happens in children, in a mount namespace of their own, which
// takes the file system along when it ends. Without root a user namespace does.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), roleVariable+"=full", "DIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	require.NoErrorf(t, err, "needs the right to mount a tmpfs (root, or user namespaces)\n%s", out)
	t.Logf("%s", out)
}

func init() {
	roles["full"] = fullDisk
	roles["fullwriter"] = fullWriter
}

const (
	fullSize    = "120m"
	fullFloor   = 32 << 20
	fullBallast = 12 << 20
)

// fullDisk mounts the file system and directs the writer on it.
func fullDisk() error {
	dir := os.Getenv("DIR")
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leaving the mounts of others alone: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+fullSize); err != nil {
		return fmt.Errorf("mounting: %w", err)
	}
	filler := filepath.Join(dir, "filler")
	// What makes room later: where the database itself has come to the floor,
	// the filler's end alone leaves less than what ends its refusals.
	more := [2]string{filepath.Join(dir, "more"), filepath.Join(dir, "stillmore")}
	for _, path := range more {
		if err := os.WriteFile(path, make([]byte, fullFloor/2), 0o600); err != nil {
			return err
		}
	}

	w, err := startWriter(dir)
	if err != nil {
		return err
	}
	// It writes until the floor, beside somebody who fills the disk to the last byte.
	if err := w.expect("written", "refused"); err != nil {
		return err
	}
	if err := fill(filler, w); err != nil {
		return err
	}
	for range 3 {
		if err := w.expect("refused"); err != nil {
			return fmt.Errorf("full: %w", err)
		}
	}
	if err := errors.Join(os.Remove(filler), os.Remove(more[0])); err != nil {
		return err
	}
	if err := w.expect("written", "refused"); err != nil {
		return fmt.Errorf("after room was made: %w", err)
	}
	if err := fill(filler, w); err != nil {
		return err
	}
	if err := w.kill(); err != nil {
		return err
	}

	// Full, and killed: the ballast was given back when less than half of the
	// floor was left, so fill up that as well. Then a start says what is missing.
	if err := fill(filler, nil); err != nil {
		return err
	}
	if w, err = startWriter(dir); err != nil {
		return err
	}
	if err := w.expect("not opened"); err != nil {
		return fmt.Errorf("a start without any room: %w", err)
	}
	if err := w.wait(); err != nil {
		return err
	}
	// With the room that the ballast holds it starts, and reads.
	if err := os.Truncate(filler, max(0, fileSize(filler)-fullBallast)); err != nil {
		return err
	}
	if w, err = startWriter(dir); err != nil {
		return err
	}
	if err := w.expect("refused", "refused"); err != nil {
		return fmt.Errorf("a start with the ballast's room: %w", err)
	}
	if err := w.kill(); err != nil {
		return err
	}
	if err := errors.Join(os.Remove(filler), os.Remove(more[1])); err != nil {
		return err
	}
	if w, err = startWriter(dir); err != nil {
		return err
	}
	if err := w.expect("written"); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return w.stop()
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// fill takes what is left of the disk. Beside a writer it does so in steps of
// 1 MiB, each after one more word of the writer's: the floor guards against what
// others write during one batch, and a file system in memory could be filled
// from above the floor to its end within one.
func fill(path string, beside *writer) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for i := 0; len(block) > 0; i++ {
		if beside != nil && i%16 == 0 {
			if err := beside.expect(""); err != nil {
				return err
			}
		}
		if _, err = f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			return err
		}
	}
	return nil
}

// writer is the process whose journal is on the full disk.
type writer struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startWriter(dir string) (*writer, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &writer{cmd: exec.Command(exe)}
	w.cmd.Env = append(os.Environ(), roleVariable+"=fullwriter", "DIR="+filepath.Join(dir, "meta"))
	w.cmd.Stderr = os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.lines = bufio.NewScanner(out)
	return w, w.cmd.Start()
}

// expect reads lines until each of these words has come, in order.
func (w *writer) expect(words ...string) error {
	for w.lines.Scan() {
		if strings.HasPrefix(w.lines.Text(), words[0]) {
			if words = words[1:]; len(words) == 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("the writer ended (%v) before it said %q", w.cmd.Wait(), words)
}

func (w *writer) kill() error {
	if err := w.cmd.Process.Kill(); err != nil {
		return err
	}
	if err := w.wait(); err == nil {
		return errors.New("the writer had ended by itself")
	}
	return nil
}

// stop lets the writer end by itself.
func (w *writer) stop() error {
	if err := w.in.Close(); err != nil {
		return err
	}
	return w.wait()
}

func (w *writer) wait() error {
	for w.lines.Scan() {
	}
	return w.cmd.Wait()
}

// fullWriter writes until its input ends, and says each time how it went. What
// it wrote in its life must be there all the time.
func fullWriter() error {
	j, err := Open(Options{Dir: os.Getenv("DIR"), Floor: fullFloor, Ballast: fullBallast})
	if errors.Is(err, record.ErrUnavailable) {
		fmt.Println("not opened:", err)
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = j.Run(ctx) })
	wg.Go(func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	})
	noise := rand.NewChaCha8([32]byte{byte(time.Now().UnixNano())})
	written := 0
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for ctx.Err() == nil {
		value := make([]byte, 60<<10)
		noise.Read(value)
		key := fmt.Sprintf("%d-%d", os.Getpid(), written)
		_, err := j.Update(ctx, record.Purchase, key, record.Condition{}, record.Change{Value: value})
		switch {
		case errors.Is(err, record.ErrUnavailable):
			fmt.Println("refused:", err)
			select { // the disk stays full for a while
			case <-pace.C:
			case <-ctx.Done():
			}
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil:
			fmt.Println("written", written)
			written++
		}
		if written > 0 {
			look := fmt.Sprintf("%d-%d", os.Getpid(), rand.IntN(written))
			versions, err := j.Get(context.Background(), record.Purchase, look)
			if err != nil || len(versions) != 1 {
				return fmt.Errorf("lost %s: %v", look, err)
			}
		}
	}
	wg.Wait()
	fmt.Println("ends with", j.Stats().Head)
	return j.Close()
}
