package prism

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/upload"
)

// Bounds of a multipart body.
const (
	maxParts      = 1000     // files and fields
	maxPartHeader = 64 << 10 // bytes before a part's content
	maxField      = 64 << 10 // bytes of one field
	maxFields     = 1 << 20  // bytes of all fields, with their names
	// maxHeldFiles of the files of one body become clones only when its end has
	// come; where there are more, the first become clones before.
	maxHeldFiles = 16
	// formBuffer is read of a form at once, in bytes.
	formBuffer = 64 << 10
)

// uploadedFile tells one file of an upload.
type uploadedFile map[string]string

// upload takes the files of a form.
func (h *Handler) upload(w http.ResponseWriter, r *http.Request, _ caller) (any, error) {
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && mediaType == "application/x-www-form-urlencoded":
		return h.uploadNothing(w, r)
	case err != nil || mediaType != "multipart/form-data":
		return nil, handlers.Faultf(handlers.Unsupported, "The body is no form: send files as multipart/form-data")
	case params["boundary"] == "":
		return nil, handlers.Faultf(handlers.Malformed, "The Content-Type has no boundary: it can't be told where a file ends")
	}
	defer h.loosenBody(r)()
	f := &form{
		h: h, ctx: r.Context(), body: &boundedBody{r: bufio.NewReaderSize(r.Body, formBuffer)}, hashType: h.set.HashType,
		data: map[string]string{}, files: map[string]uploadedFile{}, list: []uploadedFile{},
	}
	defer f.discard()
	if err := f.read(params["boundary"]); err != nil {
		return nil, uploadFault(err)
	}
	for len(f.held) > 0 {
		if err := f.finishFirst(); err != nil {
			return nil, uploadFault(err)
		}
	}
	for range f.list {
		h.Counters.Add("prism.content.filesUploaded", 1)
	}
	h.Counters.Add("prism.content.bytesUploaded", f.bytes)
	if len(f.list) > 0 {
		w.Header().Set(durability, strconv.Itoa(f.copies))
	}
	return f.answer(), nil
}

// uploadNothing answers a form without files.
func (h *Handler) uploadNothing(w http.ResponseWriter, r *http.Request) (any, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFields))
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, handlers.Faultf(handlers.Malformed, "The form is malformed").Because(err)
	}
	data := map[string]string{}
	for name := range values {
		data[name] = values.Get(name)
	}
	return (&form{data: data, files: map[string]uploadedFile{}, list: []uploadedFile{}}).answer(), nil
}

// uploadFault tells what went wrong with the stores the way this route does.
func uploadFault(err error) error {
	f := fault(err)
	switch f.Code {
	case handlers.Unavailable:
		f.Code = handlers.UploadUnavailable
	case handlers.DiskFull:
		f.Code = handlers.UploadFull
	case handlers.Internal:
		f.Code = handlers.UploadFailed
	}
	return f
}

// form is a multipart body while it is read.
type form struct {
	h        *Handler
	ctx      context.Context //nolint:containedctx // of the one request that the form is
	body     *boundedBody
	hashType content.Type
	fields   int // bytes of fields so far

	data  map[string]string
	files map[string]uploadedFile // the last one of each field
	list  []uploadedFile          // all of them

	held   []*upload.Received
	copies int // of the file that has the fewest
	bytes  int64
}

func (f *form) answer() any {
	return map[string]any{"success": "File(s) uploaded", "data": f.data, "files": f.files, "list": f.list}
}

// read takes all parts. io.EOF, not wrapped, is the end that was announced.
func (f *form) read(boundary string) error {
	reader := multipart.NewReader(f.body, boundary)
	for range maxParts + 1 {
		f.body.bound(maxPartHeader)
		part, err := reader.NextRawPart()
		f.body.bound(-1)
		if err == io.EOF { //nolint:errorlint // a wrapped one is a body without its end
			return nil
		}
		if err != nil {
			return formFault(err)
		}
		if err := f.part(part); err != nil {
			return err
		}
	}
	return handlers.Faultf(handlers.TooLarge, "The form has more than %d parts", maxParts)
}

func formFault(err error) error {
	var body *upload.BodyError
	switch {
	case errors.As(err, &body):
		return err
	case errors.Is(err, errPartHeader):
		return handlers.Faultf(handlers.Malformed, "The form has more than %d bytes before a part's content", maxPartHeader).Because(err)
	case errors.Is(err, errFormEnd), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return handlers.Faultf(handlers.Malformed, "The form ended without its last boundary; nothing of it was kept").Because(err)
	}
	return handlers.Faultf(handlers.Malformed, "The form is malformed").Because(err)
}

func (f *form) part(part *multipart.Part) error {
	name, isFile := part.FormName(), isFile(part)
	if !isFile {
		return f.field(name, part)
	}
	body := io.Reader(part)
	if part.FileName() == "" {
		// A form whose file input was left empty: a part without name and bytes.
		var first [1]byte
		n, err := io.ReadFull(part, first[:])
		if err == io.EOF { //nolint:errorlint // the part's own end
			return nil
		}
		if err != nil {
			return formFault(err)
		}
		body = io.MultiReader(strings.NewReader(string(first[:n])), part)
	}
	return f.file(name, part, body)
}

// isFile tells whether a part is a file: it has a file name, if an empty one,
// or says that it is bytes.
func isFile(part *multipart.Part) bool {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	_, named := params["filename"]
	t, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
	return err == nil && named || t == "application/octet-stream"
}

func (f *form) field(name string, part io.Reader) error {
	value, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if err != nil {
		return formFault(err)
	}
	f.fields += len(name) + len(value)
	if len(value) > maxField || f.fields > maxFields {
		return handlers.Faultf(handlers.TooLarge, "The form's fields are larger than %d bytes each or %d together", maxField, maxFields)
	}
	f.data[name] = string(value)
	if name != "hashType" {
		return nil
	}
	if f.hashType, err = content.ParseType(string(value)); err != nil {
		return unknownType(err)
	}
	return nil
}

func unknownType(err error) error {
	return handlers.Faultf(handlers.Malformed, `"hashType" is not known: use one of md5, sha1, sha224, sha256, sha384, sha512`).Because(err)
}

func (f *form) file(name string, part *multipart.Part, body io.Reader) error {
	mediaType := part.Header.Get("Content-Type")
	if t, _, err := mime.ParseMediaType(mediaType); err == nil {
		mediaType = t
	} else {
		mediaType = "application/octet-stream"
	}
	ext := content.ExtOf(part.FileName(), mediaType)
	if len(f.held) == maxHeldFiles {
		if err := f.finishFirst(); err != nil {
			return err
		}
	}
	received, err := f.h.Uploader.Receive(f.ctx, upload.Request{
		Body: partBody{body}, Size: -1, Type: f.hashType, Ext: ext, Copies: f.h.set.Copies, MaxSize: f.h.set.MaxSize,
	})
	if err != nil {
		return err
	}
	f.held = append(f.held, received)
	f.bytes += received.Size()
	hash, hashType := received.Hash().String(), f.hashType.String()
	encoding := part.Header.Get("Content-Transfer-Encoding")
	if encoding == "" {
		encoding = "7bit"
	}
	file := uploadedFile{
		"key": name, "tmpfile": rand.Text(), "name": part.FileName(), "encoding": encoding, "mimetype": mediaType,
		"ext": ext, "hash": hash, "hashType": hashType, hashType: hash,
	}
	f.data["hashType"] = hashType
	f.files[name] = file
	f.list = append(f.list, file)
	return nil
}

// finishFirst makes clones of the file that has waited longest.
func (f *form) finishFirst() error {
	first := f.held[0]
	f.held = f.held[1:]
	result, err := first.Finish(f.ctx)
	if err != nil {
		return err
	}
	if f.copies == 0 || result.Durability < f.copies {
		f.copies = result.Durability
	}
	return nil
}

func (f *form) discard() {
	for _, received := range f.held {
		received.Discard()
	}
}

// partBody tells the uploader's errors of reading from those of a form.
type partBody struct{ io.Reader }

func (b partBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // the part's own end stays what it is
		err = formFault(err)
	}
	return n, err
}

// errPartHeader says that too much came before a part's content.
var errPartHeader = errors.New("too many bytes before a part's content")

// errFormEnd says that the body has ended. The reader of forms gives io.EOF
// both behind the last boundary and within a part's header; this tells them apart.
var errFormEnd = errors.New("the body has ended")

// boundedBody is a form's body of which, now and then, only so much may be
// read. It ends with a line break, which the last boundary may lack, and
// errFormEnd.
type boundedBody struct {
	r     io.Reader
	left  int64 // bytes, negative: any number
	ended bool
}

func (b *boundedBody) bound(n int64) { b.left = n }

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errPartHeader
	}
	if b.ended {
		return 0, errFormEnd
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err == io.EOF { //nolint:errorlint // the body's own end
		if err = nil; len(p)-n >= len(lineBreak) {
			n += copy(p[n:], lineBreak)
			b.ended = true
		}
	}
	return n, err
}

const lineBreak = "\r\n"
