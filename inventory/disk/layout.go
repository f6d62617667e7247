package disk

import (
	"strings"

	"github.com/ooseio/oose/content"
)

// Where a clone lies below the root:
//
//	content/ab/cd/<hash>.<ext>        what is written now
//	content/ab/cd/ef/…/wx/yz.<ext>    deep: every pair of digits a folder, the
//	                                  last one the file's name, as OOSE 2.x has it

// TempPath returns the path of a temporary file below the root. The name must
// be made of letters and digits.
func TempPath(name string) string { return Temp + "/" + name + tempSuffix }

// ClonePath returns a clone's path below the root. The extension must be one
// that content.ParseExt returned.
func ClonePath(h content.Hash, ext string, deep bool) string {
	var digits [128]byte
	hex := h.AppendTo(digits[:0])
	b := make([]byte, 0, len(Content)+8+3*len(hex)/2+len(ext))
	b = append(b, Content...)
	if deep {
		for i := 0; i < len(hex); i += 2 {
			b = append(b, '/', hex[i], hex[i+1])
		}
	} else {
		b = append(b, '/', hex[0], hex[1], '/', hex[2], hex[3], '/')
		b = append(b, hex...)
	}
	b = append(b, '.')
	return string(append(b, ext...))
}

// ParsePath reads a path below the root that ClonePath could have made, and
// only such.
func ParsePath(rel string) (h content.Hash, ext string, deep, ok bool) {
	below, found := strings.CutPrefix(rel, Content+"/")
	dot := strings.LastIndexByte(below, '.')
	if !found || dot < 0 {
		return content.Hash{}, "", false, false
	}
	stem, ext := below[:dot], below[dot+1:]
	h, err := content.ParseHash(stem[strings.LastIndexByte(stem, '/')+1:])
	if err != nil {
		deep = true
		if h, err = content.ParseHash(strings.ReplaceAll(stem, "/", "")); err != nil {
			return content.Hash{}, "", false, false
		}
	}
	if e, err := content.ParseExt(ext); err != nil || e != ext || ClonePath(h, ext, deep) != rel {
		return content.Hash{}, "", false, false
	}
	return h, ext, deep, true
}

// parents returns the folders of a path below the root, the outermost first.
func parents(rel string) []string {
	var dirs []string
	for i := range len(rel) {
		if rel[i] == '/' {
			dirs = append(dirs, rel[:i])
		}
	}
	return dirs
}

// DirOf returns the folder of a path below the root, "." for one directly in it.
func DirOf(rel string) string {
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		return rel[:i]
	}
	return "."
}

// isPair tells whether a name is a pair of lower-case hex digits.
func isPair(name string) bool {
	return len(name) == 2 && isHex(name[0]) && isHex(name[1])
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }
