package clones

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/ooseio/oose/inventory"
)

// StorePath is where a node tells whether it has a store: 204, or 404.
//
//	GET /cluster/store/<id>
const StorePath = "/cluster/store/"

// tellHeld answers whether the store with this id is open and readable here.
func (s *Server) tellHeld(w http.ResponseWriter, id string) error {
	if v, ok := s.Volumes.Volume(id); !ok || !v.Readable() {
		return fmt.Errorf("store %.64q: %w", id, inventory.ErrNotExist)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Held asks a node whether it has a store and can read it. An error says that
// it did not tell.
func (c *Client) Held(ctx context.Context, address, store string) (bool, error) {
	err := c.call(ctx, http.MethodGet, join(address, StorePath+url.PathEscape(store)), nil, nil)
	if errors.Is(err, inventory.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
