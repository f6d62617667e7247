package handlers

import (
	"net/url"
	"strings"

	"github.com/ooseio/oose/content"
)

// ParseFile reads a content's file name, "<hash>.<ext>". Its errors are Faults.
func ParseFile(name string) (content.Hash, string, error) {
	digits, ext, ok := strings.Cut(name, ".")
	h, err := content.ParseHash(digits)
	if err != nil {
		return content.Hash{}, "", Faultf(InvalidHash, "The file's name does not begin with a hash: use <hash>.<ext>").Because(err)
	}
	if !ok {
		return content.Hash{}, "", Faultf(Malformed, "The file's name has no extension: use <hash>.<ext>")
	}
	if ext, err = content.ParseExt(ext); err != nil {
		return content.Hash{}, "", Faultf(Malformed, "The file's extension is not valid: use 1 to 16 letters and digits").Because(err)
	}
	return h, ext, nil
}

// PutPath returns the file name of a `/content/put/<file>` path as the URL has
// it, escaped. It reports false for other paths.
func PutPath(escaped string) (string, bool) {
	rest, ok := strings.CutPrefix(escaped, "/content/put/")
	if !ok || rest == "" || strings.Contains(rest, "/") {
		return "", false
	}
	name, err := url.PathUnescape(rest)
	return name, err == nil
}

// RelativePath is where OOSE 2.x keeps a content below its root, which clients
// are told whatever the layout on disk: the digest in pairs, with the extension.
func RelativePath(h content.Hash, ext string) string {
	digits := h.String()
	b := make([]byte, 0, len(digits)*3/2+len(ext)+1)
	for i := 0; i+2 <= len(digits); i += 2 {
		if i > 0 {
			b = append(b, '/')
		}
		b = append(b, digits[i:i+2]...)
	}
	return string(append(append(b, '.'), ext...))
}

// MediaType returns the media type of an extension without its parameters, as
// records of contents tell it.
func MediaType(ext string) string {
	t, _, _ := strings.Cut(content.MediaType(ext), ";")
	return t
}
