package disk

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/ooseio/oose/content"
)

// Found is a content file that a listing met.
type Found struct {
	Key  string // the hash in lower-case hex digits, the key of its record
	Ext  string
	Deep bool
	Info Info
}

// Listing is what lies below one folder.
type Listing struct {
	Found   []Found
	Foreign int // files and folders that ClonePath would never make
}

// Pairs returns the names of the folders below content, or below content/<pair>,
// in order, and how much else lies there. A folder that is missing is empty.
func (r *Root) Pairs(pair string) (names []string, foreign int, err error) {
	rel := Content
	if pair != "" {
		rel += "/" + pair
	}
	if err := r.before("list", rel); err != nil {
		return nil, 0, err
	}
	entries, err := os.ReadDir(r.join(rel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		if e.IsDir() && isPair(e.Name()) {
			names = append(names, e.Name())
		} else {
			foreign++
		}
	}
	return names, foreign, nil
}

// Collect lists all content files below content/<ab>/<cd>, in no order. A
// folder that is missing is empty.
func (r *Root) Collect(ab, cd string) (Listing, error) {
	rel := Content + "/" + ab + "/" + cd
	if err := r.before("list", rel); err != nil {
		return Listing{}, err
	}
	var l Listing
	err := r.collect(rel, ab+cd, &l)
	return l, err
}

// maxDigits is the length of the longest hash.
const maxDigits = 128

// collect lists one folder; digits are those of the folders above.
func (r *Root) collect(rel, digits string, l *Listing) error {
	entries, err := os.ReadDir(r.join(rel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case e.IsDir() && isPair(name) && len(digits) < maxDigits-2:
			if err := r.collect(rel+"/"+name, digits+name, l); err != nil {
				return err
			}
		case e.Type().IsRegular():
			found, ok := parseName(digits, name)
			if !ok {
				l.Foreign++
				continue
			}
			fi, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			found.Info = infoFrom(fi)
			l.Found = append(l.Found, found)
		default:
			l.Foreign++
		}
	}
	return nil
}

// parseName reads the name of a file in a folder whose digits are given, where
// it is one that ClonePath makes.
func parseName(digits, name string) (Found, bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 2 {
		return Found{}, false
	}
	stem, ext := name[:dot], name[dot+1:]
	if e, err := content.ParseExt(ext); err != nil || e != ext || !allHex(stem) {
		return Found{}, false
	}
	switch {
	case len(digits) == 4 && isHashLength(len(stem)) && stem[:4] == digits:
		return Found{Key: stem, Ext: ext}, true
	case len(stem) == 2 && isHashLength(len(digits)+2):
		return Found{Key: digits + stem, Ext: ext, Deep: true}, true
	}
	return Found{}, false
}

func isHashLength(n int) bool {
	for _, t := range content.Types() {
		if n == 2*t.Size() {
			return true
		}
	}
	return false
}

func allHex(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return true
}
