package cluster

import (
	"io"
	"net/http"
	"strconv"
)

// proving writes an answer that proves that this node knows the secret.
type proving struct {
	http.ResponseWriter
	h     *Handler
	call  signedCall
	wrote bool
}

func (h *Handler) proving(w http.ResponseWriter, c signedCall) *proving {
	return &proving{ResponseWriter: w, h: h, call: c}
}

// WriteHeader adds the proof to the final status.
func (p *proving) WriteHeader(status int) {
	if status >= http.StatusOK && !p.wrote || status == http.StatusSwitchingProtocols {
		p.wrote = true
		node, stamp := p.h.deps.Self(), strconv.FormatInt(p.h.deps.Now().UnixMilli(), 10)
		header := p.Header()
		header.Set(HeaderNode, node)
		header.Set(HeaderTime, stamp)
		header.Set(HeaderProof, p.call.prove(status, node, stamp))
	}
	p.ResponseWriter.WriteHeader(status)
}

// Write is http.ResponseWriter's.
func (p *proving) Write(b []byte) (int, error) {
	p.finish()
	return p.ResponseWriter.Write(b)
}

// ReadFrom keeps what the server has for files (sendfile).
func (p *proving) ReadFrom(r io.Reader) (int64, error) {
	p.finish()
	if from, ok := p.ResponseWriter.(io.ReaderFrom); ok {
		return from.ReadFrom(r)
	}
	return io.Copy(writerOnly{p.ResponseWriter}, r)
}

// FlushError sends what is written so far, as http.ResponseController has it.
func (p *proving) FlushError() error {
	p.finish()
	return http.NewResponseController(p.ResponseWriter).Flush()
}

// Flush is http.Flusher's.
func (p *proving) Flush() { _ = p.FlushError() } // a server that can't flush sends all at the end

// Unwrap is for http.ResponseController.
func (p *proving) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// finish sends the header where nothing did, 200 as net/http has it.
func (p *proving) finish() {
	if !p.wrote {
		p.WriteHeader(http.StatusOK)
	}
}

// writerOnly hides what else a writer can do.
type writerOnly struct{ io.Writer }
