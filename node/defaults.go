package node

import (
	"path/filepath"
	"time"
)

// The names of the engines.
const (
	EngineBadger = "badger"
	EngineRedis  = "redis"
)

// Compat2 is the setting of Config.Compat that answers as OOSE 2.x did.
const Compat2 = "2.x"

// SetDefaults gives every setting that is zero its default. Data and URL are
// the caller's matter: they depend on the web server. Name stays empty where
// it is to be taken from the data folder.
func (c *Config) SetDefaults() {
	or(&c.Engine.Kind, EngineBadger)
	if c.Engine.Kind == EngineBadger && c.Data != "" {
		or(&c.Engine.Folder, filepath.Join(c.Data, "meta"))
	}
	if c.Engine.Kind == EngineRedis {
		or(&c.Engine.Prefix, "oose")
	}
	or(&c.Content.Hash, "sha1")
	or(&c.Content.Copies, 2)
	or(&c.Content.MaxSize, 2e12)
	or(&c.Demand.Above, 20)
	or(&c.Demand.Stores, 4)
	or(&c.Purchase.Life, Duration(2*time.Hour))
	or(&c.Purchase.Zone, "a")
	or(&c.Session.Life, Duration(day))
	or(&c.Session.Header, SessionHeader)
	or(&c.Heartbeat.Interval, Duration(time.Second))
	or(&c.Heartbeat.Timeout, Duration(time.Second))
	or(&c.Heartbeat.Retries, 3)
	or(&c.Heartbeat.VoteLife, Duration(time.Minute))
	or(&c.Heartbeat.StartDelay, Duration(5*time.Second))
	or(&c.Scan.Every, Duration(time.Hour))
	or(&c.Scan.Workers, 4)
	or(&c.Repair.After, Duration(15*time.Minute))
	or(&c.Repair.Bandwidth, 50e6)
	or(&c.Repair.Parallel, 2)
	or(&c.Repair.MaxShare, 0.3)
	or(&c.Scrub.Every, Duration(180*day))
	or(&c.Scrub.Bandwidth, 20e6)
	or(&c.ExitAfter, Duration(30*time.Second))
}

// SetDefaults gives every setting of a store that is zero its default.
func (s *Store) SetDefaults() {
	or(&s.Reserve, 5e9)
}

func or[T comparable](setting *T, value T) {
	var zero T
	if *setting == zero {
		*setting = value
	}
}

// Pending names the settings that are set and have no effect yet. It must be
// asked before SetDefaults.
func (c *Config) Pending() []string { return nil }
