package handlers

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// WriteJSON answers with a status and v as JSON. HEAD gets the headers alone.
func WriteJSON(w http.ResponseWriter, r *http.Request, status int, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(body)
	return err
}

// encode is json.Marshal that leaves <, > and & as they are: an answer is no
// part of a page, and its texts are to be read.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// WriteFault answers with a failure as JSON `{"error": ...}`, and, where
// headers is true, with OOSE-Code, OOSE-Reason and OOSE-Message.
func WriteFault(w http.ResponseWriter, r *http.Request, f *Fault, compat, headers bool) error {
	SetFaultHeaders(w.Header(), f, compat, headers)
	return WriteJSON(w, r, f.Code.Status(compat), map[string]string{"error": f.Message})
}

// SetFaultHeaders sets the headers that go with a failure.
func SetFaultHeaders(h http.Header, f *Fault, compat, headers bool) {
	status := f.Code.Status(compat)
	if headers {
		h.Set("OOSE-Code", strconv.Itoa(status))
		h.Set("OOSE-Reason", string(f.Code.Reason()))
		h.Set("OOSE-Message", headerText(f.Message))
	}
	if f.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((f.Retry+time.Second-1)/time.Second)))
	} else if f.Code == Unavailable || f.Code == NoStore || f.Code == UploadUnavailable {
		h.Set("Retry-After", "1")
	}
	if f.Allow != "" {
		h.Set("Allow", f.Allow)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
}

// headerText keeps a message within what a header can hold: visible ASCII and
// spaces, the rest becomes '?'.
func headerText(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
