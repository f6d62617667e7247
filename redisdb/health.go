package redisdb

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	examineEvery  = time.Second      // replicas
	settingsEvery = 30 * time.Second // what Redis is set to do
)

// health looks at the servers: how many replicas they have, and whether they
// are set to lose what is written.
type health struct {
	e      *Engine
	copies [tags]atomic.Int32 // replicas of a tag's server

	mu       sync.Mutex
	warnings map[string]string // by server and kind
	broken   int               // records that could not be read
	told     bool              // ... and were told of
	silent   bool              // CONFIG is forbidden, as was told
}

func (h *health) init(e *Engine) {
	h.e = e
	h.warnings = make(map[string]string)
}

// replicas returns how many replicas a tag's server has.
func (h *health) replicas(tag int) int { return int(h.copies[tag].Load()) }

// unreadable notes a record that could not be read.
func (h *health) unreadable(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken++
	if !h.told {
		h.told = true
		h.e.log.Warn("a record in redis can't be read, others write here", zap.Error(err))
	}
}

func (h *health) list() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, w := range h.warnings {
		all = append(all, w)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// run looks at the servers until ctx ends.
func (h *health) run(ctx context.Context) {
	tick := time.NewTicker(examineEvery)
	defer tick.Stop()
	var settings time.Time
	for {
		full := time.Since(settings) >= settingsEvery
		if h.examine(ctx, full) && full {
			settings = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// examine looks at each server once.
func (h *health) examine(ctx context.Context, full bool) (ok bool) {
	all := make([]int, tags)
	for t := range all {
		all[t] = t
	}
	bounded, cancel := context.WithTimeout(ctx, h.e.within.call)
	groups := h.e.control.group(bounded, all)
	cancel()
	ok = true
	if _, missing := groups[nil]; !missing {
		h.keepServers(groups)
	}
	for c, group := range groups {
		if c == nil {
			ok = false
			continue
		}
		ok = h.examineServer(ctx, c, group, full) && ok
	}
	return ok
}

func (h *health) examineServer(ctx context.Context, c *redis.Client, group []int, full bool) bool {
	bounded, cancel := context.WithTimeout(ctx, h.e.within.call)
	defer cancel()
	text, err := c.Info(bounded, "replication").Result()
	if err != nil {
		return false
	}
	about := parseInfo(text)
	n := 0
	for name, value := range about {
		if strings.HasPrefix(name, "slave") && strings.Contains(value, "state=online") {
			n++
		}
	}
	for _, tag := range group {
		h.copies[tag].Store(int32(n))
	}
	server := c.Options().Addr
	h.warn(server, "role", about["role"] != "master", "redis is a replica, nothing can be written: name its master")
	return !full || h.settings(ctx, c, server)
}

// keepServers ends the warnings about servers that hold nothing any longer,
// such as a master that another has replaced: nobody looks at them again.
func (h *health) keepServers(groups map[*redis.Client][]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.warnings, func(name, _ string) bool {
		server, _, _ := strings.Cut(name, " ")
		for c := range groups {
			if c.Options().Addr == server {
				return false
			}
		}
		return true
	})
}

// settings reads what a server is set to do.
func (h *health) settings(ctx context.Context, c *redis.Client, server string) bool {
	bounded, cancel := context.WithTimeout(ctx, h.e.within.call)
	defer cancel()
	var memory, persistence *redis.StringCmd
	err := pipelined(bounded, c, func(p redis.Pipeliner) {
		memory, persistence = p.Info(bounded, "memory"), p.Info(bounded, "persistence")
	})
	if err != nil {
		return false
	}
	about := parseInfo(memory.Val() + "\n" + persistence.Val())
	limit, _ := strconv.ParseInt(about["maxmemory"], 10, 64)
	policy := about["maxmemory_policy"]
	h.warn(server, "evict", limit > 0 && policy != "" && policy != "noeviction", fmt.Sprintf(
		"redis forgets records when its memory is full (maxmemory-policy %s): set maxmemory-policy noeviction", policy))
	lasting := about["aof_enabled"] == "1"
	if !lasting {
		saves, err := c.ConfigGet(bounded, "save").Result()
		if err != nil && !isReply(err) {
			return false
		}
		h.forbidden(err)
		lasting = err != nil || strings.TrimSpace(saves["save"]) != ""
	}
	h.warn(server, "persist", !lasting,
		"redis keeps nothing over a restart (no appendonly, no save): set appendonly yes")
	return true
}

// forbidden says once that a server does not tell its settings.
func (h *health) forbidden(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil && !h.silent {
		h.silent = true
		h.e.log.Info("redis does not tell its settings: see yourself that it saves (appendonly yes) and does not evict (maxmemory-policy noeviction)")
	}
}

// warn begins or ends a warning about a server.
func (h *health) warn(server, kind string, on bool, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := server + " " + kind
	if !on {
		delete(h.warnings, name)
		return
	}
	if h.warnings[name] != what {
		h.warnings[name] = what
		h.e.log.Warn(what, zap.String("server", server))
	}
}

// parseInfo reads what INFO answers.
func parseInfo(text string) map[string]string {
	about := make(map[string]string)
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":"); ok {
			about[name] = value
		}
	}
	return about
}
