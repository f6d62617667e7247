package disk

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
)

// ErrTest says that a disk did not return what was written.
var ErrTest = errors.New("disk failed its test")

// testName is the file that TestWrite writes again and again, in place, so
// that it needs no space on a full disk.
const testName = Temp + "/health" + tempSuffix

// testSize is how much TestWrite writes, in bytes.
const testSize = 4096

// TestRead reads the marker from the medium, past the system's cache where it
// can be told to forget, and compares.
func (r *Root) TestRead() error {
	if err := r.before("testread", MarkerName); err != nil {
		return err
	}
	Forget(r.lock, 0, 0)
	m, marked, err := readMarker(r.lock)
	if err != nil {
		return fmt.Errorf("reading the marker: %w", err)
	}
	if !marked || m.ID != r.marker.ID {
		return fmt.Errorf("%w: the marker is not the one that was there", ErrTest)
	}
	return nil
}

// TestWrite writes, syncs and reads back a block of random bytes.
func (r *Root) TestWrite() error {
	if err := r.before("testwrite", testName); err != nil {
		return err
	}
	f, err := r.openTest()
	if err != nil {
		return err
	}
	return errors.Join(r.testFile(f), f.Close())
}

func (r *Root) testFile(f *os.File) error {
	wrote, read := make([]byte, testSize), make([]byte, testSize)
	rand.Read(wrote)
	if _, err := f.WriteAt(wrote, 0); err != nil {
		return err
	}
	if err := r.Sync(f); err != nil {
		return err
	}
	Forget(f, 0, 0)
	if _, err := f.ReadAt(read, 0); err != nil {
		return fmt.Errorf("%w: reading back: %w", ErrTest, err)
	}
	if !bytes.Equal(wrote, read) {
		return fmt.Errorf("%w: other bytes came back than were written", ErrTest)
	}
	return nil
}
