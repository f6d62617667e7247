package delivery

// Kind is a family of routes, as logs and metrics call it.
type Kind string

// The kinds of requests.
const (
	kindPurchase    Kind = "purchase"    // /<token>/<name>
	kindStatic      Kind = "static"      // /static/…
	kindPlay        Kind = "play"        // a store's /play/<token>/<name>
	kindURI         Kind = "uri"         // a store's /purchase/uri/play/<token>/<name>
	kindPing        Kind = "ping"        // /ping
	kindCrossdomain Kind = "crossdomain" // /crossdomain.xml
)

// Lookup says how the lookup of a purchase ended.
type Lookup string

// The ends of a lookup.
const (
	LookupFound   Lookup = "found"
	LookupUnknown Lookup = "unknown"
	LookupExpired Lookup = "expired"
	LookupRefused Lookup = "refused" // referrer or address
	LookupSpent   Lookup = "spent"
	LookupError   Lookup = "error"
)

// Metrics is told what delivery does. It must be quick, and no label may hold
// a token, a hash or an address.
type Metrics interface {
	// Request counts a finished request: its kind, status and bytes of content.
	Request(kind Kind, status int, sent int64)
	// Stream is called with 1 when a body begins to be sent and -1 when it ends.
	Stream(change int)
	// Failover counts a body that the next clone had to take over.
	Failover()
	// Lookup counts how the lookup of a purchase ended.
	Lookup(result Lookup)
}

// Hedger is Metrics that also count hedges.
type Hedger interface {
	// Hedge counts a first byte that was asked of a further store, because the
	// one before was slow to give it.
	Hedge()
}

type noMetrics struct{}

func (noMetrics) Request(Kind, int, int64) {}
func (noMetrics) Stream(int)               {}
func (noMetrics) Failover()                {}
func (noMetrics) Lookup(Lookup)            {}
