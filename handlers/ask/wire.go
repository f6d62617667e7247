package ask

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/record"
)

// Path is where questions are answered.
const Path = "/cluster/records"

// Bounds of a question and its answer.
const (
	maxKeys   = 256     // of one question
	maxAnswer = 4 << 20 // bytes of keys and values in an answer; further keys are left out
	maxBody   = 8 << 20 // bytes of an answer on the wire
)

// wireQuestion asks for all versions under some keys.
type wireQuestion struct {
	Topic record.Topic `json:"topic"`
	Key   string       `json:"key,omitempty"`
	Keys  []string     `json:"keys,omitempty"`
}

// wireAnswer tells them. Sure says that the node knows no more: it has caught up
// with the others, and with its own disks where it is asked about contents.
type wireAnswer struct {
	Records []record.Record `json:"records"`
	Sure    bool            `json:"sure"`
}

// ServeHTTP answers the questions of other nodes: POST /cluster/records. Who
// calls was checked by who mounts it.
func (a *Asker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mine, err := handlers.Methods{http.MethodPost}.Check(w, r)
	if err == nil && !mine {
		return
	}
	var answer *wireAnswer
	if err == nil {
		answer, err = a.serve(w, r)
	}
	if err != nil {
		f := handlers.AsFault(err)
		if errors.Is(err, record.ErrUnavailable) {
			f = handlers.Faultf(handlers.Unavailable, "The records can't be read now").Because(err)
		}
		a.deps.Log.Debug("question refused", zap.Error(err))
		_ = handlers.WriteFault(w, r, f, false, false) // a node that is gone needs no answer
		return
	}
	if err := handlers.WriteJSON(w, r, http.StatusOK, answer); err != nil {
		a.deps.Log.Debug("answer was not sent", zap.Error(err))
	}
}

func (a *Asker) serve(w http.ResponseWriter, r *http.Request) (*wireAnswer, error) {
	var q wireQuestion
	if err := handlers.ReadJSON(w, r, &q); err != nil {
		return nil, err
	}
	if q.Key != "" {
		q.Keys = append(q.Keys, q.Key)
	}
	topics, ok := related[q.Topic]
	if !ok {
		return nil, handlers.Faultf(handlers.Malformed, "Records of topic %.40q are not told", string(q.Topic))
	}
	if len(q.Keys) == 0 || len(q.Keys) > maxKeys {
		return nil, handlers.Faultf(handlers.Malformed, "A question is about 1 to %d keys", maxKeys)
	}
	for _, key := range q.Keys {
		if err := record.CheckKey(q.Topic, key); err != nil {
			return nil, handlers.Faultf(handlers.Malformed, "A key is not valid").Because(err)
		}
	}
	return a.read(r.Context(), topics, q.Keys)
}

// read reads what this node has itself.
func (a *Asker) read(ctx context.Context, topics []record.Topic, keys []string) (*wireAnswer, error) {
	answer := &wireAnswer{Records: []record.Record{}}
	answer.Sure = a.deps.Ready() && (topics[0] != record.Inventory || !a.deps.Scanning())
	size := 0
	for _, key := range keys {
		if size > maxAnswer {
			answer.Sure = false
			break
		}
		for _, topic := range topics {
			versions, err := a.deps.Engine.Get(ctx, topic, key)
			if err != nil {
				return nil, fmt.Errorf("answering a question: %w", err)
			}
			for _, v := range versions {
				size += len(v.Key) + len(v.Value)
			}
			answer.Records = append(answer.Records, versions...)
		}
	}
	return answer, nil
}

// Errors of a call.
var (
	errNoAddress = errors.New("the node has no address")
	errSilent    = errors.New("the node did not answer just now")
	errGarbage   = errors.New("the answer is not to be understood")
)

// told is what a node has told.
type told struct {
	records []record.Record // that this node lacks: none where none of those is live
	removed bool            // something of it was removed
	sure    bool            // the node says that it knows no more
}

// call asks one node.
func (a *Asker) call(ctx context.Context, n Node, topic record.Topic, keys []string) (told, error) {
	if n.Address == "" {
		return told{}, errNoAddress
	}
	if a.isSilent(n.Address) || a.deps.Down(n) {
		return told{}, errSilent
	}
	answer, err := a.post(ctx, n.Address, wireQuestion{Topic: topic, Keys: keys})
	if err != nil {
		return told{}, err
	}
	return a.check(ctx, answer, topic, keys)
}

func (a *Asker) post(ctx context.Context, address string, q wireQuestion) (*wireAnswer, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encoding a question: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(address, "/")+Path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a question: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := a.deps.Client.Do(r)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // that was not the other's fault
			a.hush(address)
		}
		return nil, fmt.Errorf("asking: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it is only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking: the answer is %s", resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("reading an answer: %w", err)
	}
	var answer wireAnswer
	if len(raw) > maxBody {
		return nil, fmt.Errorf("%w: it has more than %d bytes", errGarbage, maxBody)
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("%w: %w", errGarbage, err)
	}
	return &answer, nil
}

// check looks at an answer. One record that was not asked for, or can't be,
// spoils it. What this node itself wrote is not taken from others: where it is
// missing here, nothing is sure until the journal has seen to that. What this
// node has already, and what counts for nothing, is no find: it would end the
// question before those who know more have answered, and have it asked for ever.
func (a *Asker) check(ctx context.Context, answer *wireAnswer, topic record.Topic, keys []string) (told, error) {
	own, live := a.deps.Engine.Source(), false
	var t told
	for i := range answer.Records {
		r := &answer.Records[i]
		if !slices.Contains(related[topic], r.Topic) || !slices.Contains(keys, r.Key) {
			return told{}, fmt.Errorf("%w: it tells what was not asked", errGarbage)
		}
		if err := record.CheckRecord(*r); err != nil {
			return told{}, fmt.Errorf("%w: %w", errGarbage, err)
		}
		if r.Source == own {
			if topic != record.Inventory {
				answer.Sure = false
			}
			continue
		}
		t.removed = t.removed || r.Topic == record.Removal && !r.Deleted
		if !a.deps.Counts(*r) {
			continue
		}
		has, err := a.has(ctx, r)
		if err != nil {
			return told{}, err
		}
		if !has {
			live = live || r.Topic == topic && !r.Deleted
			t.records = append(t.records, *r)
		}
	}
	if t.sure = answer.Sure; !live {
		t.records = nil
	}
	return t, nil
}

// has tells whether this node has a record, or a newer version of its source.
func (a *Asker) has(ctx context.Context, r *record.Record) (bool, error) {
	versions, err := a.deps.Engine.Get(ctx, r.Topic, r.Key)
	if err != nil {
		return false, fmt.Errorf("comparing an answer: %w", err)
	}
	return slices.ContainsFunc(versions, func(v record.Record) bool {
		return v.Source == r.Source && v.Member == r.Member && v.Revision >= r.Revision
	}), nil
}
