package content

import (
	"errors"
	"mime"
	"strings"
)

// ErrInvalidExt says that a text can't be an extension.
var ErrInvalidExt = errors.New("invalid extension")

// UnknownExt is the extension of a content about which nothing is known.
const UnknownExt = "bin"

// maxExt is the longest extension that is accepted, in bytes.
const maxExt = 16

// ParseExt returns an extension in lower case and without its dot, where the
// text is one: 1 to 16 ASCII letters and digits.
func ParseExt(s string) (string, error) {
	s = strings.TrimPrefix(s, ".")
	if s == "" || len(s) > maxExt {
		return "", ErrInvalidExt
	}
	for i := range len(s) {
		// Before the case is changed, which makes letters of other alphabets ASCII.
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return "", ErrInvalidExt
		}
	}
	return strings.ToLower(s), nil
}

// MediaType returns the media type (RFC 6838) that is served for an extension,
// "application/octet-stream" where it is not known.
func MediaType(ext string) string {
	if t, ok := mediaTypes[strings.ToLower(ext)]; ok {
		return t
	}
	return "application/octet-stream"
}

// KnownExt tells whether an extension has a media type here.
func KnownExt(ext string) bool {
	_, ok := mediaTypes[strings.ToLower(ext)]
	return ok
}

// ExtOf returns the extension for an uploaded file: the file name's if it is a
// known one, else the one of its media type, else UnknownExt.
func ExtOf(name, mediaType string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		if ext, err := ParseExt(name[i+1:]); err == nil && KnownExt(ext) {
			return ext
		}
	}
	if t, _, err := mime.ParseMediaType(mediaType); err == nil {
		if ext, ok := mediaExts[t]; ok {
			return ext
		}
	}
	return UnknownExt
}

// IsAudioVideo tells whether an extension is that of audio or video, which
// only a purchase may fetch by default.
func IsAudioVideo(ext string) bool {
	t := MediaType(ext)
	return strings.HasPrefix(t, "video/") || strings.HasPrefix(t, "audio/")
}
