package node

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/net/http/httpguts"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/peer"
)

// minSecret is the shortest secret or session key that is accepted, in bytes.
const minSecret = 16

// Validate tells which setting is wrong and what would be right. Zero values
// are right: they mean the defaults.
func (c *Config) Validate() error { return c.validate(checker{}) }

// ValidateText is Validate before the placeholders are replaced: texts that
// hold one are passed over.
func (c *Config) ValidateText() error { return c.validate(checker{lenient: true}) }

// Validate tells which setting of the store is wrong and what would be right.
func (s *Store) Validate() error { return checker{}.store(s) }

// ValidateText is Validate before the placeholders are replaced.
func (s *Store) ValidateText() error { return checker{lenient: true}.store(s) }

// checker judges settings; lenient passes over texts with placeholders.
type checker struct{ lenient bool }

// given tells whether a text is there to be judged.
func (k checker) given(s string) bool {
	return s != "" && !(k.lenient && strings.Contains(s, "{") && strings.Contains(s, "}"))
}

func (c *Config) validate(k checker) error {
	for _, check := range []func(*Config) error{
		k.place, k.engine, k.stores, k.cluster, k.content, k.demand, k.purchase, k.session, k.timing, k.users,
	} {
		if err := check(c); err != nil {
			return err
		}
	}
	if k.given(c.Compat) && c.Compat != Compat2 {
		return fmt.Errorf("compat: %.40q is unknown, the only choice is 2.x", c.Compat)
	}
	return nil
}

func (k checker) place(c *Config) error {
	for _, s := range []struct{ setting, value string }{
		{"name", c.Name}, {"site", c.Site}, {"group", c.Group},
	} {
		if err := k.name(s.setting, s.value); err != nil {
			return err
		}
	}
	if k.given(c.Domain) {
		if len(c.Domain) > 253 {
			return errors.New("domain: longer than the 253 characters of a DNS name")
		}
		for label := range strings.SplitSeq(c.Domain, ".") {
			if peer.CheckName(label) != nil {
				return fmt.Errorf("domain: %.80q is no DNS name, write it like oose.example", c.Domain)
			}
		}
	}
	if k.given(c.Data) && strings.ContainsRune(c.Data, 0) {
		return errors.New("data: a path has no NUL")
	}
	return k.webAddress("url", c.URL)
}

func (k checker) name(setting, value string) error {
	if k.given(value) {
		if err := peer.CheckName(value); err != nil {
			return fmt.Errorf("%s: %w", setting, err)
		}
	}
	return nil
}

// webAddress accepts http(s)://host[:port][/path] without anything that a
// link could not go on from.
func (k checker) webAddress(setting, value string) error {
	if !k.given(value) {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%s: %.80q is no web address, write it like https://cdn.oose.example", setting, value)
	}
	return nil
}

func (k checker) engine(c *Config) error {
	e := c.Engine
	if !k.given(e.Kind) {
		if e.Kind == "" && (e.URL != "" || e.Prefix != "") {
			return errors.New("engine: url and prefix belong to the engine redis, name it: engine redis <url>")
		}
		return nil
	}
	switch e.Kind {
	case EngineBadger:
		if e.URL != "" || e.Prefix != "" {
			return errors.New("engine: url and prefix belong to the engine redis, badger has a folder alone")
		}
		return nil
	case EngineRedis:
		if e.Folder != "" {
			return errors.New("engine: a folder belongs to the engine badger, redis has a url")
		}
		return k.redis(e)
	}
	return fmt.Errorf("engine: %.40q is unknown, choose badger or redis", e.Kind)
}

func (k checker) redis(e Engine) error {
	if e.URL == "" {
		return errors.New("engine: redis needs its address, write it like: engine redis redis://127.0.0.1:6379/0")
	}
	if !k.given(e.URL) {
		return nil
	}
	// net/url refuses several hosts with ports, which sentinels and clusters
	// have; what it would say might also repeat a password.
	scheme, rest, _ := strings.Cut(e.URL, "://")
	known := []string{"redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"}
	hosts, _, _ := strings.Cut(rest, "/")
	if !slices.Contains(known, scheme) || hosts == "" {
		return fmt.Errorf("engine: the address of redis begins with one of %s, then ://host:port", strings.Join(known, ", "))
	}
	if strings.HasSuffix(scheme, "+sentinel") && !strings.Contains(rest, "master=") {
		return errors.New("engine: with sentinels the address names the master, as in redis+sentinel://r1:26379,r2:26379/0?master=oose")
	}
	return nil
}

func (k checker) stores(c *Config) error {
	for i := range c.Stores {
		s := &c.Stores[i]
		if err := k.store(s); err != nil {
			return err
		}
		for _, other := range c.Stores[:i] {
			if s.Name == other.Name {
				return fmt.Errorf("store %s: declared twice, give each store a name of its own", s.Name)
			}
			if filepath.Clean(s.Root) == filepath.Clean(other.Root) {
				return fmt.Errorf("store %s: %s is the root of store %s already, give each store a root of its own", s.Name, s.Root, other.Name)
			}
		}
	}
	return nil
}

func (k checker) store(s *Store) error {
	if s.Name == "" {
		return errors.New("store: it has no name, write: store <name> <root>")
	}
	if err := k.name("store", s.Name); err != nil {
		return err
	}
	if s.Root == "" {
		return fmt.Errorf("store %s: it has no root, write: store %s <folder>", s.Name, s.Name)
	}
	if strings.ContainsRune(s.Root, 0) {
		return fmt.Errorf("store %s: a path has no NUL", s.Name)
	}
	if s.Reserve < 0 || s.Cache < 0 {
		return fmt.Errorf("store %s: reserve and cache can't be below zero", s.Name)
	}
	return nil
}

func (k checker) cluster(c *Config) error {
	l := c.Cluster
	if len(l.Secret) > 2 {
		return errors.New("cluster.secret: at most two, the new one and the old one")
	}
	for _, s := range l.Secret {
		if s == "" || (k.given(s) && len(s) < minSecret) {
			return fmt.Errorf("cluster.secret: shorter than %d characters, make one with: openssl rand -base64 32", minSecret)
		}
	}
	if err := k.webAddress("cluster.address", l.Address); err != nil {
		return err
	}
	for _, j := range l.Join {
		if !k.given(j) {
			continue
		}
		scheme, host, _ := strings.Cut(j, "://")
		if scheme == "dns+srv" || scheme == "dns+a" {
			if host == "" || strings.ContainsAny(host, "/?#@ ") {
				return fmt.Errorf("cluster.join: %.80q names nothing to look up, write it like dns+srv://_oose._tcp.oose.example", j)
			}
			continue
		}
		if k.webAddress("", j) != nil {
			return fmt.Errorf("cluster.join: %.80q is no address of a node, write it like https://edge2.oose.example:5971 or dns+srv://_oose._tcp.oose.example", j)
		}
	}
	if (l.ClientAuth.Certificate == "") != (l.ClientAuth.Key == "") {
		return errors.New("cluster.client_auth: it needs both files, the certificate and its key")
	}
	return nil
}

func (k checker) content(c *Config) error {
	if k.given(c.Content.Hash) {
		if _, err := content.ParseType(c.Content.Hash); err != nil {
			return fmt.Errorf("content.hash: %w", err)
		}
	}
	if n := c.Content.Copies; n < 0 || n > 16 {
		return fmt.Errorf("content.copies: %d is not from 1 to 16", n)
	}
	if c.Content.MaxSize < 0 {
		return errors.New("content.max_size: it can't be below zero")
	}
	return nil
}

func (k checker) demand(c *Config) error {
	d := c.Demand
	if d.Above < 0 || d.Above > 1e6 {
		return fmt.Errorf("demand.above: %d is not from 1 to 1000000 requests a second", d.Above)
	}
	if d.Stores < 0 || d.Stores > 16 {
		return fmt.Errorf("demand.stores: %d is not from 1 to 16", d.Stores)
	}
	var defaults Config
	defaults.SetDefaults()
	defaults.Demand.Off = true
	if d.Off && d != (Demand{Off: true}) && d != defaults.Demand {
		return errors.New("demand: it is off and has other settings, write one or the other")
	}
	return nil
}

func (k checker) purchase(c *Config) error {
	if z := c.Purchase.Zone; k.given(z) && (len(z) != 1 || !strings.Contains("abcdefghijklmnopqrstuvwxyz0123456789", z)) {
		return fmt.Errorf("purchase.zone: %.40q is not one character of a-z and 0-9", z)
	}
	return nil
}

func (k checker) session(c *Config) error {
	if h := c.Session.Header; k.given(h) && !httpguts.ValidHeaderFieldName(h) {
		return fmt.Errorf("session.header: %.80q can't be the name of a header, write it like X-OOSE-Token", h)
	}
	for user, key := range c.Session.Keys {
		if user == "" || key == "" || (k.given(key) && len(key) < minSecret) {
			return fmt.Errorf("session.key: the key of %.80q has less than %d characters, make one with: openssl rand -base64 32", user, minSecret)
		}
	}
	return nil
}

// minProbe is the least time between probes, and for each of them.
const minProbe = 50 * time.Millisecond

func (k checker) timing(c *Config) error {
	for _, n := range []struct {
		setting    string
		value, max int
	}{
		{"heartbeat.retries", c.Heartbeat.Retries, 100},
		{"scan.workers", c.Scan.Workers, 64},
		{"repair.parallel", c.Repair.Parallel, 64},
	} {
		if n.value < 0 || n.value > n.max {
			return fmt.Errorf("%s: %d is not from 1 to %d", n.setting, n.value, n.max)
		}
	}
	if e := c.Scan.Every.Std(); e < 0 || e > 0 && e < time.Second {
		return fmt.Errorf("scan.every: %s is less than a second, write it like 1h", e)
	}
	for _, d := range []struct {
		setting string
		value   time.Duration
	}{{"heartbeat.interval", c.Heartbeat.Interval.Std()}, {"heartbeat.timeout", c.Heartbeat.Timeout.Std()}} {
		if d.value != 0 && d.value < minProbe {
			return fmt.Errorf("%s: %s is less than %s, write it like 1s", d.setting, d.value, minProbe)
		}
	}
	if c.Heartbeat.Off {
		h := c.Heartbeat
		h.Off = false
		if h != (Heartbeat{}) && !c.heartbeatDefaults() {
			return errors.New("heartbeat: it is off and has other settings, write one or the other")
		}
	}
	if c.Repair.Bandwidth < 0 || c.Scrub.Bandwidth < 0 {
		return errors.New("repair.bandwidth, scrub.bandwidth: they can't be below zero")
	}
	return nil
}

// heartbeatDefaults tells whether SetDefaults filled in the heartbeat.
func (c *Config) heartbeatDefaults() bool {
	var d Config
	d.SetDefaults()
	d.Heartbeat.Off = true
	return c.Heartbeat == d.Heartbeat
}

func (k checker) users(c *Config) error {
	for name, hash := range c.Users {
		if name == "" || len(name) > 128 {
			return errors.New("user: a user's name has 1 to 128 characters")
		}
		if err := k.bcrypt("user "+name, hash); err != nil {
			return err
		}
	}
	return nil
}

func (k checker) bcrypt(setting, hash string) error {
	if hash != "" && !k.given(hash) {
		return nil
	}
	if _, err := bcrypt.Cost([]byte(hash)); err != nil {
		return fmt.Errorf("%s: the password's bcrypt hash is expected, make one with the command hash-password", setting)
	}
	return nil
}

// ValidateBasic tells what is wrong with a name and bcrypt hash for HTTP basic
// auth; lenient passes over placeholders.
func ValidateBasic(user, hash string, lenient bool) error {
	if user == "" || strings.Contains(user, ":") {
		return errors.New("basic_auth: the user's name is empty or has a colon, write: basic_auth <user> <bcrypt hash>")
	}
	return checker{lenient: lenient}.bcrypt("basic_auth "+user, hash)
}

// ValidateAddress tells what is wrong with a web address; lenient passes over
// placeholders.
func ValidateAddress(setting, address string, lenient bool) error {
	return checker{lenient: lenient}.webAddress(setting, address)
}
