package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// Badger writes through memory maps: on a full file system the kernel ends the
// whole process with SIGBUS, and again at every start, when Badger writes what
// it had in memory into tables and merges them. Four things guard against that:
// no batch begins below the floor; below it the database is reopened so that
// Badger writes nothing by itself either (see reopen); a file of ballast lies
// beside the database and is given back when even less is left, or at a start
// below the floor; and a start that could not write its tables is refused in words.
type space struct {
	dir     string
	floor   int64 // bytes; below this nothing is written
	ballast int64 // bytes of the ballast file; 0: none
	log     *zap.Logger
	free    func(dir string) (int64, error) // bytes that this process may still use
	size    atomic.Int64                    // bytes of the database's tables, as last measured
	refused atomic.Bool                     // below the floor at the last look
}

const (
	ballastName = "ballast"

	// A compaction writes new tables beside the old ones, and the tables of a
	// large database are larger: the floor grows with it.
	floorShare = 8
	maxFloor   = 1 << 30

	// openMargin is what a start writes besides its tables.
	openMargin = 2 << 20
)

func (s *space) bound() int64 {
	if s.floor <= 0 {
		return 0
	}
	return max(s.floor, min(s.size.Load()/floorShare, maxFloor))
}

// check tells whether a batch may be written now.
func (s *space) check() error {
	bound := s.bound()
	if bound == 0 {
		return nil
	}
	free, err := s.free(s.dir)
	if err != nil {
		return fmt.Errorf("%w: asking for the free space at %s: %w", record.ErrUnavailable, s.dir, err)
	}
	wanted := bound
	if s.refused.Load() {
		wanted += bound / 4 // not to and fro
	}
	if free >= wanted {
		if s.refused.CompareAndSwap(true, false) {
			s.log.Info("there is room again, records are written", zap.String("free", humanize.IBytes(uint64(free))))
		}
		return nil
	}
	if s.refused.CompareAndSwap(false, true) {
		s.log.Error("too little free space for the database, no record is written until there is more",
			zap.String("dir", s.dir), zap.String("free", humanize.IBytes(uint64(free))), zap.String("wanted", humanize.IBytes(uint64(wanted))))
	}
	if free < bound/2 {
		s.giveBack(free)
	}
	return fmt.Errorf("%w: the disk of %s has %s left and the database needs %s to write safely, free some space",
		record.ErrUnavailable, s.dir, humanize.IBytes(uint64(free)), humanize.IBytes(uint64(wanted)))
}

// prepare makes sure that Badger can open: below the floor it gives the
// ballast back, and if what Badger held in memory would still not fit into
// tables, it refuses. It tells whether the disk is still below the floor.
func (s *space) prepare() (cramped bool, err error) {
	if s.floor <= 0 {
		return false, nil
	}
	free, err := s.free(s.dir)
	if err != nil {
		return false, fmt.Errorf("asking for the free space at %s: %w", s.dir, err)
	}
	if free < s.floor {
		s.giveBack(free)
		if free, err = s.free(s.dir); err != nil {
			return false, fmt.Errorf("asking for the free space at %s: %w", s.dir, err)
		}
	}
	need, err := unflushed(s.dir)
	if err != nil {
		return false, err
	}
	if free < need {
		return false, fmt.Errorf("%w: the disk of %s has %s left and the database needs %s to start, free some space",
			record.ErrUnavailable, s.dir, humanize.IBytes(uint64(free)), humanize.IBytes(uint64(need)))
	}
	return free < s.floor, nil
}

// ready tells whether closing can write its last table, giving the ballast
// back where there would be no room.
func (s *space) ready() error {
	if s.floor <= 0 {
		return nil
	}
	need, err := unflushed(s.dir)
	if err != nil {
		return err
	}
	free, err := s.free(s.dir)
	if err == nil && free < need {
		s.giveBack(free)
		free, err = s.free(s.dir)
	}
	if err == nil && free < need {
		err = fmt.Errorf("%w: no room to write the last table", record.ErrUnavailable)
	}
	return err
}

// upkeep makes the ballast where there is room for it beside the floor.
func (s *space) upkeep() {
	if s.ballast <= 0 || s.floor <= 0 {
		return
	}
	path := filepath.Join(s.dir, ballastName)
	if info, err := os.Stat(path); err == nil && info.Size() == s.ballast {
		return
	}
	free, err := s.free(s.dir)
	if err != nil || free < s.bound()+2*s.ballast {
		return
	}
	if err := makeBallast(path, s.ballast); err != nil {
		s.log.Warn("making the ballast file failed", zap.String("path", path), zap.Error(err))
	}
}

func makeBallast(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = allocate(f, size)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// writeZeros takes the room of size bytes where the system has no call for it.
func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, 64<<10)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

func (s *space) giveBack(free int64) {
	path := filepath.Join(s.dir, ballastName)
	err := os.Remove(path)
	switch {
	case err == nil:
		s.log.Warn("gave the ballast back, because the disk is nearly full",
			zap.String("path", path), zap.String("free", humanize.IBytes(uint64(free))))
	case !errors.Is(err, fs.ErrNotExist):
		s.log.Error("giving the ballast back failed", zap.String("path", path), zap.Error(err))
	}
}

// hasBallast tells whether the ballast is there.
func (s *space) hasBallast() bool {
	_, err := os.Stat(filepath.Join(s.dir, ballastName))
	return err == nil
}

// unflushed returns how many bytes Badger may have to write into tables when
// it opens or closes: what its write-ahead files really hold.
func unflushed(dir string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("reading the database's folder: %w", err)
	}
	need := int64(openMargin)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".mem") {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("reading the database's folder: %w", err)
		}
		need += allocated(info)
	}
	return need, nil
}
