package serve

import (
	"crypto/rand"
	"net/http"
	"strconv"

	"github.com/ooseio/oose/content"
)

// multipart answers with several spans as multipart/byteranges (RFC 9110, 14.6).
func (s *sender) multipart(spans []span) error {
	boundary := rand.Text()
	h := s.w.Header()
	setOne(h, "Content-Type", "multipart/byteranges; boundary="+boundary)
	mediaType := content.MediaType(s.info.Ext)

	heads := make([]byte, 0, len(spans)*160)
	ends := make([]int, len(spans))
	length := int64(0)
	for i, sp := range spans {
		if i > 0 {
			heads = append(heads, "\r\n"...)
		}
		heads = append(heads, "--"...)
		heads = append(heads, boundary...)
		heads = append(heads, "\r\nContent-Type: "...)
		heads = append(heads, mediaType...)
		heads = append(heads, "\r\nContent-Range: "...)
		heads = sp.appendTo(heads, s.info.Size)
		heads = append(heads, "\r\n\r\n"...)
		ends[i] = len(heads)
		length += sp.length()
	}
	foot := "\r\n--" + boundary + "--\r\n"
	setOne(h, "Content-Length", strconv.FormatInt(length+int64(len(heads)+len(foot)), 10))

	s.begin()
	s.w.WriteHeader(http.StatusPartialContent)
	from := 0
	for i, sp := range spans {
		if _, err := s.w.Write(heads[from:ends[i]]); err != nil {
			return nil // the client is gone
		}
		from = ends[i]
		if err := s.copySpan(sp); err != nil {
			return s.finish(err)
		}
	}
	_, _ = s.w.Write([]byte(foot)) // a client that is gone now has all parts
	return nil
}
