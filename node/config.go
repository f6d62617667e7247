package node

// Config holds every setting of a node. The zero value of a setting means its
// default; SetDefaults fills them in. Relative paths are from the working
// folder.
type Config struct {
	// The name of this node, the first label of `<name>.<domain>`: 1 to 63
	// lower-case letters, digits and inner hyphens. It is kept in the data
	// folder at the first start, so that a new host name changes nothing.
	// Default: what was kept, else the first label of the machine's host name.
	Name string `json:"name,omitempty"`

	// The DNS domain that all nodes of the cluster share; peers have the host
	// names `<peer>.<domain>`. Default: none.
	Domain string `json:"domain,omitempty"`

	// The data centre this node stands in. Default: none.
	Site string `json:"site,omitempty"`

	// The rack, switch or power source this node shares with others, its
	// failure domain: clones go to different groups where there are several.
	// Default: none.
	Group string `json:"group,omitempty"`

	// The folder of what this node must remember: its identity, and the
	// records of the engine `badger` in `meta`. One process at a time can use
	// it. Default: the folder `oose` in Caddy's data folder.
	Data string `json:"data,omitempty"`

	// What the links of purchases begin with, as `https://cdn.oose.example`.
	// Default: the site that holds the handler of purchases.
	URL string `json:"url,omitempty"`

	// Where records are kept.
	Engine Engine `json:"engine,omitzero"`

	// The stores of this process: each one root folder on one medium. The
	// handler of a store may declare its store as well.
	Stores []Store `json:"stores,omitempty"`

	// How this node finds the others, and how they know one another. Without a
	// secret it is alone.
	Cluster Cluster `json:"cluster,omitzero"`

	// How content is taken in.
	Content Content `json:"content,omitzero"`

	// When more stores are asked to take content in, because clients ask for it
	// so often.
	Demand Demand `json:"demand,omitzero"`

	// How purchases are made.
	Purchase Purchase `json:"purchase,omitzero"`

	// The sessions of users.
	Session Session `json:"session,omitzero"`

	// How nodes notice that another does not answer. All nodes are to have the
	// same.
	Heartbeat Heartbeat `json:"heartbeat,omitzero"`

	// How stores are compared with what is recorded about them.
	Scan Scan `json:"scan,omitzero"`

	// How lost clones are made again.
	Repair Repair `json:"repair,omitzero"`

	// How often every clone is read and verified.
	Scrub Scrub `json:"scrub,omitzero"`

	// Users by name, each with the bcrypt hash of the password. A user that
	// stands here can't be changed by API or command.
	Users map[string]string `json:"users,omitempty"`

	// `2.x` answers failures with the statuses of OOSE 2.x. Default: empty,
	// the statuses that tell the failures apart.
	Compat string `json:"compat,omitempty"`

	// What still streams this long after a stop of the process is ended; a
	// reload ends nothing. Default: 30s.
	ExitAfter Duration `json:"exit_after,omitempty"`
}

// Engine tells where records are kept.
type Engine struct {
	// `badger`: embedded, nothing to install, replicated between the nodes.
	// `redis`: all records are in one Redis or Valkey. Default: badger.
	Kind string `json:"kind,omitempty"`

	// The folder of the engine `badger`. Default: `meta` in the data folder.
	Folder string `json:"folder,omitempty"`

	// The address of the engine `redis`: `redis://127.0.0.1:6379/0`,
	// `redis+sentinel://:pw@r1:26379,r2:26379/0?master=oose`,
	// `rediss+cluster://r1:6379,r2:6379`.
	URL string `json:"url,omitempty"`

	// What all keys in the engine `redis` begin with. Default: oose.
	Prefix string `json:"prefix,omitempty"`
}

// Store is one root folder on one medium of this process. A root that is
// missing is no error: the store is offline until it is there.
type Store struct {
	// The store's name, unique in the cluster: the first label of
	// `<name>.<domain>`. Required.
	Name string `json:"name"`

	// The folder that holds the store. Required.
	Root string `json:"root"`

	// The free space below which the store is not writable. Default: 5GB.
	Reserve Size `json:"reserve,omitempty"`

	// Whether the store is offline unless its root is a mount point, so that
	// nothing is written below a medium that is not mounted. Default: false.
	Mount bool `json:"mount,omitempty"`

	// Room for pull-through copies: content fetched for a viewer from a store
	// elsewhere is kept here for the next one. Default: none.
	Cache Size `json:"cache,omitempty"`
}

// Cluster tells how nodes find and know one another.
type Cluster struct {
	// The secret that all nodes share, of at least 16 characters, which never
	// travels; a second one is the old one while the nodes change over.
	Secret []string `json:"secret,omitempty"`

	// The address at which the other nodes reach this one, as
	// `https://edge1.oose.example:5971`. Any site that holds one of the handlers
	// answers them. Default: the first of these sites that names a host.
	Address string `json:"address,omitempty"`

	// Where other nodes are: addresses, or names that list them as
	// `dns+srv://_oose._tcp.oose.example` or `dns+a://nodes.oose.example`. One
	// that answers is enough: the nodes tell one another.
	Join []string `json:"join,omitempty"`

	// A file of certificates (PEM) that the other nodes' certificates must
	// come from. Default: what the system trusts.
	Trust string `json:"trust,omitempty"`

	// The certificate that this node shows to others. Default: none.
	ClientAuth ClientAuth `json:"client_auth,omitzero"`
}

// ClientAuth names the files of a client certificate, both or none.
type ClientAuth struct {
	// The certificate's file (PEM).
	Certificate string `json:"certificate,omitempty"`

	// The file of its private key (PEM).
	Key string `json:"key,omitempty"`
}

// Content tells how content is taken in.
type Content struct {
	// The digest of uploads that ask for no other: md5, sha1, sha224, sha256,
	// sha384 or sha512. Default: sha1.
	Hash string `json:"hash,omitempty"`

	// How many clones of each content there are to be, 1 to 16. An upload is
	// acknowledged with as many as there are stores for. Default: 2.
	Copies int `json:"copies,omitempty"`

	// The largest content that is accepted. Default: 2TB.
	MaxSize Size `json:"max_size,omitempty"`

	// Whether fetching by URL may reach private addresses, as those of the
	// machine's own network. Default: false.
	RetrievePrivate bool `json:"retrieve_private,omitempty"`
}

// Demand tells when more stores are asked to take content in, because clients
// ask for it so often. Such a copy is no clone.
type Demand struct {
	// Whether nobody is asked. Default: false.
	Off bool `json:"off,omitempty"`

	// Requests a second for one content that this node may read from each store
	// that holds it; where there are more, further stores are asked. Default: 20.
	Above int `json:"above,omitempty"`

	// How many stores are asked for one content, 1 to 16. Default: 4.
	Stores int `json:"stores,omitempty"`
}

// Purchase tells how purchases are made.
type Purchase struct {
	// The life of purchases that ask for no other. Default: 2h.
	Life Duration `json:"life,omitempty"`

	// The first character of the tokens made here, one of a-z and 0-9.
	// Default: a.
	Zone string `json:"zone,omitempty"`

	// When this node has been cut off from all others for so long, it answers
	// 503 instead of serving what may have been revoked. Default: never. Not
	// yet in effect with the engine redis.
	Alone Duration `json:"alone,omitempty"`
}

// SessionHeader is the header that carries a session's token by default.
const SessionHeader = "X-OOSE-Token"

// Session tells about the sessions of users.
type Session struct {
	// How long a session lives from its login. Default: 24h.
	Life Duration `json:"life,omitempty"`

	// The header that carries a session's token. Access logs have all headers:
	// the filters of the logs must delete it. Default: X-OOSE-Token.
	Header string `json:"header,omitempty"`

	// Sessions that never end: their tokens, of at least 16 characters, by the
	// name of the user.
	Keys map[string]string `json:"keys,omitempty"`
}

// Heartbeat tells how nodes notice that another does not answer.
type Heartbeat struct {
	// Whether no node is probed, so that failing requests alone tell who is there.
	// Default: false.
	Off bool `json:"off,omitempty"`

	// The time from one probe of a node to the next. Default: 1s.
	Interval Duration `json:"interval,omitempty"`

	// How long a probe may take. Default: 1s.
	Timeout Duration `json:"timeout,omitempty"`

	// How many probes in a row must fail for a down vote. Default: 3.
	Retries int `json:"retries,omitempty"`

	// How long a vote counts after the node that cast it last said so; while it
	// holds that is four times in this time. Default: 60s.
	VoteLife Duration `json:"vote_life,omitempty"`

	// For how long after its start a node casts no votes. Default: 5s.
	StartDelay Duration `json:"start_delay,omitempty"`
}

// Scan tells how stores are compared with what is recorded about them.
type Scan struct {
	// The time from one scan of a store to the next. Default: 1h.
	Every Duration `json:"every,omitempty"`

	// How many folders of one store are read at the same time, 1 to 64.
	// Default: 4.
	Workers int `json:"workers,omitempty"`
}

// Repair tells how lost clones are made again.
type Repair struct {
	// How long a store must stay away to be taken for lost. Default: 15m.
	After Duration `json:"after,omitempty"`

	// Bytes per second that repairing may use. Default: 50MB.
	Bandwidth Size `json:"bandwidth,omitempty"`

	// How many clones are made at the same time, 1 to 64. Default: 2.
	Parallel int `json:"parallel,omitempty"`

	// The largest part of the cluster that is repaired at once. Default: 30%.
	MaxShare Share `json:"max_share,omitempty"`
}

// Scrub tells how often every clone is read and verified.
type Scrub struct {
	// The time in which every clone is read and verified once; a verification
	// that is asked for is skipped where the last one is younger. Default: 180d.
	Every Duration `json:"every,omitempty"`

	// Bytes per second that scrubbing may read of each store. Default: 20MB.
	Bandwidth Size `json:"bandwidth,omitempty"`
}
