package ask

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// replies gathers what nodes answer to one question.
type replies struct {
	asker *Asker
	plan  plan
	keys  []string
	come  chan reply
	asks  sync.WaitGroup

	open    map[int]bool // makers, by their place in the plan, that did not answer yet
	waiting int          // all who did not answer yet
	widened bool         // the others are asked too
	doubt   error        // someone who may know it could not tell: ErrUnsure, or ErrAway where all those are away
	found   []record.Record
	removed bool // some of what was found was removed
}

// reply is one node's answer. It is sure where the node says that it knows no more.
type reply struct {
	told
	node  Node
	maker int // its place in the plan; -1: it is none
	err   error
}

func newReplies(a *Asker, p plan, keys []string) *replies {
	return &replies{asker: a, plan: p, keys: keys, come: make(chan reply, len(p.makers)+len(p.others)), open: make(map[int]bool)}
}

// close waits until nobody is asked any more; the context given to gather must
// have ended.
func (r *replies) close() { r.asks.Wait() }

// gather asks the makers, and the others where one of those can't tell, and
// returns what they know. With first it returns what is found first, unless that
// tells of a removal: others may have been given the content again. doubt is nil
// where nobody knows more.
func (r *replies) gather(ctx context.Context, first bool) (found []record.Record, doubt error) {
	for i, n := range r.plan.makers {
		r.open[i] = true
		r.ask(ctx, n, i)
	}
	if !r.asker.deps.Ready() { // this node is a maker too, and can't tell
		r.doubt = ErrUnsure
		r.widen(ctx)
	}
	slow := time.NewTimer(patience)
	defer slow.Stop()
	for r.waiting > 0 && (len(r.open) > 0 || r.doubt != nil) {
		select {
		case answer := <-r.come:
			r.take(ctx, answer)
			if first && len(r.found) > 0 && !r.removed {
				return r.found, nil
			}
		case <-slow.C:
			r.slow(ctx)
		case <-ctx.Done():
			for i := range r.open {
				r.doubts(r.plan.makers[i], true)
			}
			return r.found, r.doubt
		}
	}
	return r.found, r.doubt
}

// doubts notes that a maker could not tell, or did not answer at all. One whose
// writings are all known here leaves no doubt by its silence.
func (r *replies) doubts(n Node, silent bool) {
	switch {
	case silent && r.asker.covered(r.plan, n):
	case silent && r.asker.deps.Away(n):
		if r.doubt == nil {
			r.doubt = ErrAway
		}
	default:
		r.doubt = ErrUnsure
	}
}

// ask asks one node.
func (r *replies) ask(ctx context.Context, n Node, maker int) {
	r.waiting++
	r.asks.Add(1)
	go func() {
		defer r.asks.Done()
		answer := reply{node: n, maker: maker}
		answer.told, answer.err = r.asker.call(ctx, n, r.plan.topic, r.keys)
		r.come <- answer // there is room for all
	}()
}

// widen asks the others too, once.
func (r *replies) widen(ctx context.Context) {
	if r.widened {
		return
	}
	r.widened = true
	for _, n := range r.plan.others {
		r.ask(ctx, n, -1)
	}
}

// take takes an answer in.
func (r *replies) take(ctx context.Context, answer reply) {
	r.waiting--
	if answer.err != nil {
		r.asker.deps.Log.Debug("another node does not answer a question",
			zap.String("topic", string(r.plan.topic)), zap.String("address", answer.node.Address), zap.Error(answer.err))
	}
	r.found = append(r.found, answer.records...)
	r.removed = r.removed || answer.removed
	if answer.maker < 0 || !r.open[answer.maker] {
		return
	}
	delete(r.open, answer.maker)
	if answer.err == nil && answer.sure {
		return
	}
	if r.doubts(answer.node, answer.err != nil); r.doubt != nil {
		r.widen(ctx)
	}
}

// slow no longer waits for makers of which all is known that they may have
// made, and has the others asked where that leaves one.
func (r *replies) slow(ctx context.Context) {
	for i := range r.open {
		if r.asker.covered(r.plan, r.plan.makers[i]) {
			delete(r.open, i)
		}
	}
	if len(r.open) > 0 {
		r.widen(ctx)
	}
}
