package adminapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// maxBlocked is how many contents one request blocks or unblocks.
const maxBlocked = 1000

// heardTime is how long an answer waits until another node knows a block.
const heardTime = 2 * time.Second

// block answers POST /oose/block: contents are refused from now on, here at
// once and at the other nodes as soon as they hear of it.
func (c *call) block() error {
	var ask BlockRequest
	hashes, err := c.readBlock(&ask)
	if err != nil {
		return err
	}
	by := c.actor()
	return c.streamed(func(*lineStream) (any, error) {
		return c.changeBlocks(hashes, func(ctx context.Context, h content.Hash) (record.Ack, audit.Entry, error) {
			ack, err := c.index.Block(ctx, inventory.Block{Hash: h, Reason: ask.Reason, Hidden: ask.Hidden, By: by.String()})
			entry := audit.Entry{Action: audit.ContentBlock, Hash: h.String(), Reason: ask.Reason}
			if ask.Hidden {
				entry.Detail = "hidden"
			}
			return ack, entry, err
		})
	})
}

// unblock answers POST /oose/unblock. What is not blocked is told, and does not
// keep the others from being unblocked.
func (c *call) unblock() error {
	var ask BlockRequest
	hashes, err := c.readBlock(&ask)
	if err != nil {
		return err
	}
	by := c.actor()
	return c.streamed(func(*lineStream) (any, error) {
		return c.changeBlocks(hashes, func(ctx context.Context, h content.Hash) (record.Ack, audit.Entry, error) {
			ack, err := c.index.Unblock(ctx, h, by.String())
			return ack, audit.Entry{Action: audit.ContentUnblock, Hash: h.String(), Reason: ask.Reason}, err
		})
	})
}

func (c *call) readBlock(ask *BlockRequest) ([]content.Hash, error) {
	if err := handlers.ReadJSON(c.w, c.r, ask); err != nil {
		return nil, err
	}
	if len(ask.Hash) == 0 || len(ask.Hash) > maxBlocked {
		return nil, handlers.Faultf(handlers.Malformed, `The field "hash" must hold 1 to %d hashes`, maxBlocked)
	}
	hashes := make([]content.Hash, len(ask.Hash))
	for i, text := range ask.Hash {
		h, err := parseHash(text)
		if err != nil {
			return nil, err // before anything was done
		}
		hashes[i] = h
	}
	return hashes, nil
}

// changeBlocks changes one content after the other. It goes on where the client
// has gone: half a takedown is worse than one whose answer nobody reads.
func (c *call) changeBlocks(hashes []content.Hash, change func(context.Context, content.Hash) (record.Ack, audit.Entry, error)) (any, error) {
	ctx := context.WithoutCancel(c.r.Context())
	answer := BlockAnswer{Hashes: []string{}}
	var last record.Ack
	for _, h := range hashes {
		ack, entry, err := change(ctx, h)
		switch {
		case errors.Is(err, inventory.ErrNotBlocked):
			answer.Unchanged = append(answer.Unchanged, h.String())
			continue
		case errors.Is(err, inventory.ErrInvalidReason):
			return nil, handlers.Faultf(handlers.Malformed, "%s", err)
		case err != nil:
			return nil, unfinished(err, len(answer.Hashes), len(hashes))
		}
		c.audited(entry)
		last = ack
		answer.Hashes = append(answer.Hashes, h.String())
	}
	answer.Copies = last.Copies
	if confirmer, ok := c.engine.(record.Confirmer); ok && last.Revision > 0 {
		ctx, cancel := context.WithTimeout(ctx, heardTime)
		defer cancel()
		answer.Copies = max(1, confirmer.Confirm(ctx, last).Copies)
	}
	return answer, nil
}

// unfinished tells how far something came that is done one by one.
func unfinished(err error, done, of int) error {
	f := asFault(err)
	if of == 1 {
		return f
	}
	return handlers.Faultf(f.Code, "%s; %d of %d were done before, and it may be repeated", f.Message, done, of).Because(err)
}

// blocks answers GET /oose/blocks with an array of what is blocked now.
func (c *call) blocks() error {
	list := []BlockLine{}
	for b, err := range c.index.Blocks(c.r.Context()) {
		if err != nil {
			return err
		}
		list = append(list, BlockLine{Hash: b.Hash.String(), Block: b})
	}
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, BlocksAnswer{list})
}
