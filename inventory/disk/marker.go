package disk

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Marker is what stands in the file oose.json of a store's root, its identity.
type Marker struct {
	ID      string    `json:"id"`   // random, made with the marker
	Name    string    `json:"name"` // the store's when the marker was made
	Created time.Time `json:"created"`
}

// maxMarker bounds what is read of a marker, in bytes.
const maxMarker = 4096

// idBytes is the length of the random part that a new id is made of.
const idBytes = 16

// ErrRefused says that a root is not this store's, or not one at all, and that
// nothing was written there. Its text says why and what to do.
var ErrRefused = errors.New("root refused")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// sight is what a root looks like before anything is done to it.
type sight struct {
	exists     bool
	foreign    string // the name of something that is none of ours
	mountPoint bool
	marked     bool // the marker is there and not empty
	marker     Marker
	markerErr  error
}

// decide applies the rules of which root is taken. It tells whether a marker
// is to be written there; an error refuses the root.
func decide(s sight, o Options) (write bool, err error) {
	switch {
	case o.Mount && !s.mountPoint:
		return false, refused("no medium is mounted there")
	case !s.exists && o.KnownID != "" && !o.Adopt:
		return false, refused("the folder is missing; the store was there before")
	case s.marked && s.markerErr != nil && !o.Adopt:
		return false, refused("its marker %s can't be read (%v); repair it, or take the root as it is with `oose adopt %s`", MarkerName, s.markerErr, o.Name)
	case s.marked && s.markerErr == nil && o.KnownID != "" && s.marker.ID != o.KnownID && !o.Adopt:
		return false, refused("the medium there is another store's (%q, id %.12s); put the right one back, or take this one with `oose adopt %s`", s.marker.Name, s.marker.ID, o.Name)
	case s.marked && s.markerErr == nil:
		return false, nil
	case o.Adopt:
		return true, nil
	case o.KnownID != "":
		return false, refused("it has no marker %s, the medium is not mounted or is a new one; mount it, or take the root as it is with `oose adopt %s`", MarkerName, o.Name)
	case s.foreign != "":
		return false, refused("it holds %q, which is no part of a store; empty it, or take it as it is with `oose adopt %s`", s.foreign, o.Name)
	}
	return true, nil
}

// look gathers what decide wants to know, and changes nothing.
func look(path string, mount bool) (sight, error) {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sight{}, nil
	case err != nil:
		return sight{}, err
	}
	s := sight{exists: true}
	for _, e := range entries {
		switch e.Name() {
		case Content, Temp, Quarantine, Cache, lostFound, MarkerName:
		default:
			s.foreign = e.Name()
		}
	}
	if mount {
		if s.mountPoint, err = isMountPoint(path); err != nil {
			return sight{}, err
		}
	}
	f, err := os.Open(filepath.Join(path, MarkerName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return sight{}, err
	}
	defer f.Close()
	s.marker, s.marked, s.markerErr = readMarker(f)
	return s, nil
}

// readMarker reads a marker's file from its beginning. An empty one is what a
// crash leaves while a marker is made, and counts as none.
func readMarker(f *os.File) (m Marker, marked bool, err error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxMarker))
	if err != nil {
		return Marker{}, true, err
	}
	if len(b) == 0 {
		return Marker{}, false, nil
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return Marker{}, true, err
	}
	if m.ID == "" || len(m.ID) > 64 {
		return Marker{}, true, errors.New("it has no id")
	}
	for i := range len(m.ID) {
		if c := m.ID[i]; !isHex(c) && c != '-' {
			return Marker{}, true, errors.New("its id is not hex digits")
		}
	}
	return m, true, nil
}

// writeMarker writes a new identity through a locked marker file.
func writeMarker(f *os.File, name string) error {
	id := make([]byte, idBytes)
	rand.Read(id)
	m := Marker{ID: hex.EncodeToString(id), Name: name, Created: time.Now().UTC().Truncate(time.Second)}
	b, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(append(b, '\n'), 0); err != nil {
		return err
	}
	return f.Sync()
}
