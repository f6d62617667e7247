//go:build soak

package integration

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// removeBesideUpload removes a content, that was there or was removed before,
// while another client uploads it at the other prism. Both are acknowledged, and
// it ends in one of two ways: the content can be bought and read, or it is gone.
func (c *clients) removeBesideUpload(n *Node, pick uint64) (bool, error) {
	e, ok := c.ledger.change(pick, func(e *entry) bool { return e.body != nil })
	if !ok {
		return false, nil
	}
	other := c.prisms[(slices.Index(c.prisms, n)+1)%len(c.prisms)]
	var both sync.WaitGroup
	var removing, uploading error
	both.Go(func() {
		removing = c.insist(n, func(n *Node) error {
			status, err := c.removeAt(n, e)
			if status == http.StatusNotFound {
				return nil // it was not there, or an attempt before has come through
			}
			return err
		})
	})
	both.Go(func() {
		uploading = c.insist(other, func(n *Node) error {
			_, err := upload(c.api[n], e.body)
			return err
		})
	})
	both.Wait()
	if removing != nil || uploading != nil {
		return false, fmt.Errorf("removing: %v, uploading: %v", removing, uploading)
	}
	there, err := c.settled(e)
	if err != nil || !there {
		c.ledger.gone(e, true)
		return true, err
	}
	var token string
	if err := c.insist(n, func(n *Node) (err error) { token, err = purchase(c.api[n], e.hash); return err }); err != nil {
		return false, fmt.Errorf("%s is there and can't be bought: %w", e.hash, err)
	}
	err = c.everywhere(e.hash+" is there", func(n *Node) error {
		return (&question{node: n, path: "/" + token + "/f.bin"}).want(c.api[n].HTTP, http.StatusOK, e.body)
	})
	c.ledger.changed(e, present, []string{token})
	return true, err
}

// settled waits until all prisms say the same of a content.
func (c *clients) settled(e *entry) (there bool, err error) {
	err = c.insist(c.prisms[0], func(*Node) error {
		var says [2]bool
		for i, n := range c.prisms {
			if c.views.well(n) != n {
				return fmt.Errorf("%s is struck", n.URL(""))
			}
			var d Detail
			status, err := c.api[n].post("/content/detail", map[string]string{"hash": e.hash}, &d)
			if err != nil && status != http.StatusNotFound {
				return err
			}
			says[i] = err == nil && d.Exists
		}
		if there = says[0]; says[0] != says[1] {
			return fmt.Errorf("%s: there %t at one prism, %t at the other", e.hash, says[0], says[1])
		}
		return nil
	})
	return there, err
}

// block blocks a content, sees that it holds everywhere, and takes it back.
func (c *clients) block(n *Node, pick uint64) (bool, error) {
	e, ok := c.ledger.change(pick, func(e *entry) bool { return e.state == present && len(e.tokens) > 0 })
	if !ok {
		return false, nil
	}
	q := question{path: "/" + e.tokens[0] + "/f.bin"}
	for _, step := range []struct {
		route  string
		status int
	}{{"/oose/block", http.StatusForbidden}, {"/oose/unblock", http.StatusOK}} {
		err := c.insist(n, func(n *Node) error {
			_, err := postTo(c.api[n].HTTP, n.AdminURL(step.route), "", map[string]any{"hash": e.hash}, nil)
			return err
		})
		if err != nil {
			return false, err
		}
		err = c.everywhere(step.route+" "+e.hash, func(n *Node) error {
			at := q
			at.node = n
			status, body, err := at.ask(c.api[n].HTTP)
			if err == nil && status == step.status && (status != http.StatusOK || sha256Of(body) == e.hash) {
				return nil
			}
			return fmt.Errorf("%s: want %d, got %d with %d bytes (%v)", &at, step.status, status, len(body), err)
		})
		if err != nil {
			return false, err
		}
	}
	c.ledger.changed(e, present, nil)
	return true, nil
}
