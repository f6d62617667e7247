package clones

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ooseio/oose/content"
)

// Open asks a store for a content's bytes from offset up to, not including,
// end. It returns when the store has begun to answer. Reading gives exactly
// these bytes: fewer are io.ErrUnexpectedEOF, and none for too long while
// somebody reads is ErrStalled. The end of ctx ends the reading too.
func (c *Client) Open(ctx context.Context, address, store string, h content.Hash, offset, end int64) (io.ReadCloser, error) {
	if offset >= end {
		return http.NoBody, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	b := &body{ctx: ctx, cancel: cancel, left: end - offset, stall: c.Stall}
	b.timer = time.AfterFunc(c.Stall, func() { cancel(ErrStalled) })
	err := c.begin(b, join(address, ClonePath+h.String()+"?store="+url.QueryEscape(store)), h, offset, end)
	b.timer.Stop()
	if err != nil {
		err = causeOf(ctx, err)
		cancel(err)
		return nil, fmt.Errorf("reading %s from store %s: %w", h, store, err)
	}
	return b, nil
}

func (c *Client) begin(b *body, url string, h content.Hash, offset, end int64) error {
	r, err := http.NewRequestWithContext(b.ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	span := strconv.FormatInt(offset, 10) + "-" + strconv.FormatInt(end-1, 10)
	r.Header.Set("Range", "bytes="+span)
	resp, err := c.Doer.Do(r)
	if err != nil {
		return err
	}
	if err := checkPart(resp, h, span, end-offset); err != nil {
		return errors.Join(err, resp.Body.Close())
	}
	b.body = resp.Body
	return nil
}

// checkPart tells whether a response is the part of the content that was asked for.
func checkPart(resp *http.Response, h content.Hash, span string, length int64) error {
	if resp.StatusCode != http.StatusPartialContent {
		raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxQuestion)) // what can't be read says nothing more
		return refusalOf(resp.StatusCode, raw)
	}
	if tag := resp.Header.Get("Etag"); tag != `"`+h.String()+`"` {
		return fmt.Errorf("%w: another content", ErrAnswer)
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+span+"/") || resp.ContentLength != length {
		return fmt.Errorf("%w: another part of the content", ErrAnswer)
	}
	return nil
}

// body is a part of a clone on its way.
type body struct {
	ctx    context.Context //nolint:containedctx // of the one request it is
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	left   int64 // bytes
	stall  time.Duration
	timer  *time.Timer // runs while somebody reads
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	b.timer.Reset(b.stall)
	n, err := b.body.Read(p)
	b.timer.Stop()
	b.left -= int64(n)
	switch {
	case b.left == 0 || err == nil:
		return n, nil
	case err == io.EOF: //nolint:errorlint // the body's own end
		err = io.ErrUnexpectedEOF
	}
	return n, causeOf(b.ctx, err)
}

func (b *body) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.body.Close()
}
