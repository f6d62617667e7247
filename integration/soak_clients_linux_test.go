//go:build soak

package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"sync"
	"time"
)

// contentsKept is how many contents clients let grow before they rather remove.
const contentsKept = 150

// clients do at random what people who run a site do: each its own deeds, one
// after the other, each until it is acknowledged.
type clients struct {
	views  *viewers
	api    map[*Node]*API
	prisms []*Node
	nodes  map[string]*Node
	ledger *ledger

	broken chan struct{} // closed when something is not as it should be
	done   chan struct{}
	all    sync.WaitGroup

	mu    sync.Mutex
	wrong error
	count map[string]int // of deeds that were acknowledged, and of attempts that were not
}

func (c *clients) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[what]++
}

func (c *clients) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrong == nil {
		c.wrong = err
		close(c.broken)
	}
}

// failed tells what is not as it should be, "" where all is.
func (c *clients) failed() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrong != nil {
		return c.wrong.Error()
	}
	return ""
}

// end stops the clients after what each is doing, and tells how often they did what.
func (c *clients) end() map[string]int {
	select {
	case <-c.done:
	default:
		close(c.done)
	}
	c.all.Wait()
	return c.count
}

// run does the deeds of one client.
func (c *clients) run(seed, number uint64) {
	ticker := time.NewTicker(400 * time.Millisecond)
	defer ticker.Stop()
	r := rand.New(rand.NewPCG(seed, 2000+number))
	for d := range deedPlan(seed, number) {
		select {
		case <-c.done:
			return
		case <-c.broken:
			return
		case <-ticker.C:
		}
		did, err := c.do(d, pseudo(r, d.Size))
		if err != nil {
			c.fail(fmt.Errorf("client %d, %s: %w", number, d.Kind, err))
			return
		}
		if did {
			c.note(d.Kind)
		}
	}
}

// insist tries until it is acknowledged, at a prism that is not struck.
func (c *clients) insist(first *Node, try func(n *Node) error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		n := c.views.well(first)
		err := try(n)
		if err == nil {
			return nil
		}
		c.note("not acknowledged: " + cause(err))
		if time.Since(began) > 3*patience {
			return fmt.Errorf("not within %s: %w", 3*patience, err)
		}
		select {
		case <-c.broken:
			return err
		case <-tick.C:
		}
	}
}

// cause is a failure in a word or two: the status and the path, where there was an
// answer.
func cause(err error) string {
	if answer := regexp.MustCompile(`(/[a-z/]+): (\d{3}) `).FindStringSubmatch(err.Error()); answer != nil {
		return answer[2] + " for " + answer[1]
	}
	return "no answer"
}

// do does a deed; false: there was nothing to do it with.
func (c *clients) do(d deed, body []byte) (bool, error) {
	n := c.nodes[d.Node]
	if d.Kind == "upload" && len(c.ledger.contents(present)) >= contentsKept {
		d.Kind = "remove"
	}
	switch d.Kind {
	case "upload":
		return true, c.insist(n, func(n *Node) error { return store(c.api[n], c.ledger, body) })
	case "buy":
		return true, c.insist(n, func(n *Node) error { return buy(c.api[n], c.ledger, d.Pick) })
	case "revoke":
		return c.revoke(n, d.Pick)
	case "upload again":
		return c.uploadAgain(n, d.Pick)
	case "remove":
		return c.remove(n, d.Pick)
	case "remove beside upload":
		return c.removeBesideUpload(n, d.Pick)
	case "block":
		return c.block(n, d.Pick)
	}
	return false, fmt.Errorf("nobody knows how to %s", d.Kind)
}

func (c *clients) revoke(n *Node, pick uint64) (bool, error) {
	s, ok := c.ledger.revoking(pick)
	if !ok {
		return false, nil
	}
	err := c.insist(n, func(n *Node) error {
		status, err := c.api[n].post("/content/purchase/remove", map[string]string{"token": s.token}, nil)
		if status == http.StatusNotFound {
			return nil // an attempt before has come through
		}
		return err
	})
	c.ledger.revoked(s)
	return true, err
}

// uploadAgain uploads what is there: nothing changes.
func (c *clients) uploadAgain(n *Node, pick uint64) (bool, error) {
	s, ok := c.ledger.uploading(pick)
	if !ok {
		return false, nil
	}
	attempts := 0
	err := c.insist(n, func(n *Node) error {
		attempts++
		_, err := upload(c.api[n], s.entry.body)
		return err
	})
	if attempts == 1 { // nobody knows when one ends that was not acknowledged
		c.ledger.uploadedAgain(s)
	}
	return true, err
}

func isPresent(e *entry) bool { return e.state == present }

func (c *clients) remove(n *Node, pick uint64) (bool, error) {
	e, ok := c.ledger.change(pick, isPresent)
	if !ok {
		return false, nil
	}
	first := true
	err := c.insist(n, func(n *Node) error {
		status, err := c.removeAt(n, e)
		if status == http.StatusNotFound && !first {
			return nil // an attempt before has come through
		}
		first = first && status == http.StatusNotFound
		return err
	})
	if err != nil {
		return false, err
	}
	if err := c.everywhere(e.hash+" is removed", func(n *Node) error { return c.isThere(n, e, false) }); err != nil {
		return false, err
	}
	c.ledger.gone(e, pick%4 == 0)
	return true, nil
}

func (c *clients) removeAt(n *Node, e *entry) (status int, err error) {
	return c.api[n].post("/content/remove", map[string]string{"hash": e.hash}, nil)
}

// isThere asks whether a prism has a content.
func (c *clients) isThere(n *Node, e *entry, want bool) error {
	var d Detail
	status, err := c.api[n].post("/content/detail", map[string]string{"hash": e.hash}, &d)
	if err != nil && status != http.StatusNotFound {
		return err
	}
	if there := err == nil && d.Exists; there != want {
		return fmt.Errorf("%s at %s: there %t, want %t: %+v", e.hash, n.URL(""), there, want, d)
	}
	return nil
}

// everywhere waits until something is so at each prism.
func (c *clients) everywhere(what string, is func(n *Node) error) error {
	for _, n := range c.prisms {
		err := c.insist(n, func(at *Node) error {
			if at != n {
				return fmt.Errorf("%s is struck", n.URL(""))
			}
			return is(n)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}
