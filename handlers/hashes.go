package handlers

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxAsked bounds how many hashes one request may ask about: more valid ones
// don't fit into MaxHashes bytes.
const maxAsked = 500_000

// HashQuery is a request about one hash or many.
type HashQuery struct {
	Many   bool    // an array was sent, so that an object is answered
	Hashes []Asked // each value once, in the order in which they came

	// How long and how often other nodes are asked before the answer is no.
	Timeout Int // milliseconds
	Retries Int
}

// Asked is one hash of a request as it was sent, which may be none at all.
type Asked struct {
	Text   string
	Number bool // it was a number
}

// Value is what was asked as it came, for the answer.
func (a Asked) Value() any {
	if a.Number {
		return json.Number(a.Text)
	}
	return a.Text
}

// ReadHashes reads `{"hash": <one or an array>, "timeout", "retryCount"}`, with
// `sha1` for `hash`, of up to MaxHashes bytes and as a stream. Its errors are
// Faults.
func ReadHashes(w http.ResponseWriter, r *http.Request) (*HashQuery, error) {
	body, err := JSONBody(w, r, MaxHashes)
	if err != nil {
		return nil, err
	}
	q, err := decodeHashes(body)
	if err != nil {
		return nil, bodyFault(err)
	}
	return q, nil
}

func decodeHashes(body io.Reader) (*HashQuery, error) {
	dec := json.NewDecoder(body)
	dec.UseNumber()
	start, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, missingHash()
	}
	if err != nil {
		return nil, err
	}
	if start != json.Delim('{') {
		return nil, Faultf(Malformed, "The body must be a JSON object")
	}
	q, found := &HashQuery{}, ""
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		switch name := key.(string); {
		case name == "hash", name == "sha1" && found != "hash":
			found = name
			err = q.readHashes(dec, name)
		case name == "timeout":
			err = decodeInt(dec, name, &q.Timeout)
		case name == "retryCount":
			err = decodeInt(dec, name, &q.Retries)
		default:
			err = skipValue(dec)
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, Faultf(Malformed, "The body has something behind its JSON object").Because(err)
	}
	if found == "" {
		return nil, missingHash()
	}
	return q, nil
}

func missingHash() error {
	return Faultf(Malformed, `The field "hash" is missing: send one hash or an array of them`)
}

func (q *HashQuery) readHashes(dec *json.Decoder, name string) error {
	q.Many, q.Hashes = false, nil
	token, err := dec.Token()
	if err != nil {
		return err
	}
	if text, ok := token.(string); ok {
		q.Hashes = []Asked{{Text: text}}
		return nil
	}
	if token != json.Delim('[') {
		return Faultf(Malformed, "%q must be a string or an array of strings", name)
	}
	q.Many = true
	seen := map[string]struct{}{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		var one Asked
		switch v := token.(type) {
		case string:
			one.Text = v
		case json.Number:
			one = Asked{Text: v.String(), Number: true}
		default:
			return Faultf(Malformed, "%q must hold strings only", name)
		}
		if _, twice := seen[one.Text]; twice {
			continue
		}
		if len(q.Hashes) == maxAsked {
			return Faultf(TooLarge, "%q holds more than %d hashes", name, maxAsked)
		}
		seen[one.Text] = struct{}{}
		q.Hashes = append(q.Hashes, one)
	}
	_, err = dec.Token()
	return err
}

func decodeInt(dec *json.Decoder, name string, n *Int) error {
	err := dec.Decode(n)
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		kind.Field = name
	}
	if err == nil && n.Value < 0 {
		return Faultf(Malformed, "%q must not be negative", name)
	}
	return err
}

// skipValue reads over one value of any depth without keeping it.
func skipValue(dec *json.Decoder) error {
	for depth := 0; ; {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// HashField is the hash of a request that is about one content: `hash`, or
// `sha1` as older clients call it.
type HashField struct {
	Hash *string `json:"hash"`
	SHA1 *string `json:"sha1"`
}

// Text returns what was sent without the white space around it, "" where
// nothing was.
func (f HashField) Text() string {
	for _, s := range []*string{f.Hash, f.SHA1} {
		if s != nil {
			return strings.TrimSpace(*s)
		}
	}
	return ""
}
