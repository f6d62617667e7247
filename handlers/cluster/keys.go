package cluster

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// The headers of a call and of its answer.
const (
	HeaderNode      = "OOSE-Node"      // who calls, or answers
	HeaderTime      = "OOSE-Time"      // when, in milliseconds since 1970
	HeaderNonce     = "OOSE-Nonce"     // 16 random bytes, once used
	HeaderSignature = "OOSE-Signature" // of a call
	HeaderProof     = "OOSE-Proof"     // of an answer
	HeaderRefused   = "OOSE-Refused"   // why a call was not let in
)

// Why a call was not let in, in HeaderRefused.
const (
	refusedSignature = "signature"
	refusedClock     = "clock"
	refusedReplay    = "replay"
)

// Errors of Check.
var (
	// ErrUnsigned says that a request is no call from a node at all.
	ErrUnsigned = errors.New("not signed by a node")
	// ErrSignature says that a signature was not made with one of the secrets,
	// or not for this request.
	ErrSignature = errors.New("signed with another secret, or for another request")
	// ErrClock says that a call was signed at another time, or before this node
	// could know whether it came before.
	ErrClock = errors.New("signed too long ago, before this node started, or by a clock that is ahead")
	// ErrReplay says that a call came twice.
	ErrReplay = errors.New("this call came before")
)

// Bounds of a call.
const (
	window   = 5 * time.Minute // how far its time may be away
	nonceLen = 16
	maxNode  = 255
)

const (
	version       = "oose-cluster-1"
	signaturePart = "oose cluster call"
	proofPart     = "oose cluster answer"
)

// encoding is that of nonces, signatures and proofs.
var encoding = base64.RawURLEncoding.Strict()

// Keys sign calls and check them. With several secrets the first one signs and
// all of them check, so that a secret can be replaced while nodes run. The
// methods can be called at the same time.
type Keys struct {
	ring   atomic.Pointer[ring]
	nonces nonces
	since  time.Time // from when on the calls that were let in are remembered
}

// ring is one list of secrets.
type ring []key

// key is what is made of one secret.
type key struct{ call, answer []byte }

// NewKeys returns the keys of these secrets; empty ones are left out. Without
// any, nothing can be signed and nothing is let in.
func NewKeys(secrets []string) *Keys {
	k := &Keys{since: time.Now()}
	k.Use(secrets)
	return k
}

// Use replaces the secrets. Calls that were let in by a former one are answered.
func (k *Keys) Use(secrets []string) {
	keys := new(ring)
	for _, secret := range secrets {
		if secret != "" {
			*keys = append(*keys, key{call: derive(secret, signaturePart), answer: derive(secret, proofPart)})
		}
	}
	k.ring.Store(keys)
}

// derive makes one key for each purpose, so that no answer can be taken for a call.
func derive(secret, purpose string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// Empty tells whether there is no secret.
func (k *Keys) Empty() bool { return len(*k.ring.Load()) == 0 }

// Sign makes a request a call of the node of this name, at a time: its host,
// method and URL must not change any more. Without a secret it does nothing.
func (k *Keys) Sign(r *http.Request, node string, at time.Time) {
	if keys := *k.ring.Load(); len(keys) > 0 {
		keys[0].sign(r, node, at)
	}
}

// sign returns the nonce, which the answer has to prove.
func (k key) sign(r *http.Request, node string, at time.Time) (nonce string) {
	var b [nonceLen]byte
	rand.Read(b[:]) // never fails: the program ends if it would
	nonce = encoding.EncodeToString(b[:])
	stamp := strconv.FormatInt(at.UnixMilli(), 10)
	r.Header.Set(HeaderNode, node)
	r.Header.Set(HeaderTime, stamp)
	r.Header.Set(HeaderNonce, nonce)
	r.Header.Set(HeaderSignature, encoding.EncodeToString(k.sum(r, node, stamp, nonce)))
	return nonce
}

// sum is the signature of a request.
func (k key) sum(r *http.Request, node, stamp, nonce string) []byte {
	return macOf(k.call, hostOf(r), r.Method, uriOf(r), node, stamp, nonce)
}

// macOf joins texts so that no two lists of them give the same.
func macOf(key []byte, texts ...string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(version))
	for _, text := range texts {
		mac.Write([]byte("\n" + strconv.Itoa(len(text)) + ":" + text))
	}
	return mac.Sum(nil)
}

// hostOf returns the host that a request is for, as it goes over the wire.
func hostOf(r *http.Request) string {
	host := r.Host
	if host == "" && r.URL != nil {
		host = r.URL.Host
	}
	return strings.ToLower(withoutZone(host))
}

// withoutZone takes the zone from an IPv6 address: it means something on one
// machine only, and is not sent.
func withoutZone(host string) string {
	if !strings.HasPrefix(host, "[") {
		return host
	}
	address, port, err := net.SplitHostPort(host)
	if err != nil {
		return host
	}
	address, _, _ = strings.Cut(address, "%")
	return net.JoinHostPort(address, port)
}

// uriOf returns the request URI: as it came, or as it will be sent.
func uriOf(r *http.Request) string {
	if r.RequestURI != "" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// signedCall is a request that was signed by a node.
type signedCall struct {
	node  string
	nonce string
	stamp string
	key   *key // with which it was signed; nil: none of ours
}

// Check lets a call in once and returns the name of the node that signed it.
// Errors: ErrUnsigned, ErrSignature, ErrClock, ErrReplay.
func (k *Keys) Check(r *http.Request, now time.Time) (node string, err error) {
	c, err := k.check(r, now)
	return c.node, err
}

// check does what Check does. What it returns tells with which key it was
// signed also where it is refused.
func (k *Keys) check(r *http.Request, now time.Time) (signedCall, error) {
	c, at, nonce, err := parse(r.Header)
	if err != nil {
		return c, err
	}
	signature, err := encoding.DecodeString(r.Header.Get(HeaderSignature))
	if err != nil {
		return c, fmt.Errorf("%w: it is not encoded as it should be", ErrSignature)
	}
	keys := *k.ring.Load()
	for i := range keys { // all of them, so that the time it takes tells nothing
		if hmac.Equal(signature, keys[i].sum(r, c.node, c.stamp, c.nonce)) {
			c.key = &keys[i]
		}
	}
	if c.key == nil {
		return c, ErrSignature
	}
	// Only what a node signed gets as far as here, and takes memory.
	if off := now.Sub(at); off > window || off < -window || k.forgot(off) {
		return c, ErrClock
	}
	return c, k.nonces.use(nonce, at, now)
}

// forgot tells whether a call that was signed so long ago may have been let in
// before these keys were made, by a process that is no more: it is refused as
// late, and its node signs anew. What has passed since is not told by the clock,
// which may have been set meanwhile.
func (k *Keys) forgot(ago time.Duration) bool {
	const step = time.Millisecond // of the time of a call
	return ago > time.Since(k.since)+step
}

// maxStamp is the longest time in digits that can be one.
const maxStamp = 15

// parse reads the headers of a call.
func parse(h http.Header) (c signedCall, at time.Time, nonce [nonceLen]byte, err error) {
	if h.Get(HeaderSignature) == "" {
		return c, at, nonce, ErrUnsigned
	}
	c.node, c.nonce, c.stamp = h.Get(HeaderNode), h.Get(HeaderNonce), h.Get(HeaderTime)
	if len(c.node) > maxNode {
		return c, at, nonce, fmt.Errorf("%w: its node's name has more than %d bytes", ErrSignature, maxNode)
	}
	if at, err = parseStamp(c.stamp); err != nil {
		return c, at, nonce, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if len(c.nonce) != encoding.EncodedLen(nonceLen) {
		return c, at, nonce, fmt.Errorf("%w: its nonce is not %d bytes", ErrSignature, nonceLen)
	}
	if _, err := encoding.Decode(nonce[:], []byte(c.nonce)); err != nil {
		return c, at, nonce, fmt.Errorf("%w: its nonce is not encoded as it should be", ErrSignature)
	}
	return c, at, nonce, nil
}

// parseStamp reads milliseconds since 1970.
func parseStamp(text string) (time.Time, error) {
	if text == "" || len(text) > maxStamp {
		return time.Time{}, errStamp
	}
	ms, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return time.Time{}, errStamp
	}
	return time.UnixMilli(int64(ms)), nil
}

var errStamp = errors.New("its time is not in milliseconds since 1970")

// prove signs an answer to a call with the key of the call.
func (c signedCall) prove(status int, node, stamp string) string {
	return encoding.EncodeToString(c.key.proof(c.nonce, status, node, stamp))
}

func (k key) proof(nonce string, status int, node, stamp string) []byte {
	return macOf(k.answer, nonce, strconv.Itoa(status), node, stamp)
}

// proven tells whether an answer is that of a node that knows the secret with
// which it was called.
func (k key) proven(resp *http.Response, nonce string) bool {
	proof, err := encoding.DecodeString(resp.Header.Get(HeaderProof))
	if err != nil {
		return false
	}
	want := k.proof(nonce, resp.StatusCode, resp.Header.Get(HeaderNode), resp.Header.Get(HeaderTime))
	return hmac.Equal(proof, want)
}
