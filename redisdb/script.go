package redisdb

import (
	"crypto/sha1"
	"encoding/hex"
)

// script is a Lua script; Redis runs one as a transaction. All keys of a call
// have the same hash tag.
type script struct{ text, sha string }

func newScript(parts ...string) script {
	text := ""
	for _, p := range parts {
		text += p
	}
	sum := sha1.Sum([]byte(text))
	return script{text: text, sha: hex.EncodeToString(sum[:])}
}

// scripts are what the engine runs.
type scripts struct {
	update, put, gone, read, join, drop, expired, tidy script
}

func newScripts() scripts {
	return scripts{
		update:  newScript(luaVersions, luaKeep, luaUpdate),
		put:     newScript(luaVersions, luaKeep, luaPut),
		gone:    newScript(luaGone),
		read:    newScript(luaRead),
		join:    newScript(luaJoin),
		drop:    newScript(luaDrop),
		expired: newScript(luaExpired),
		tidy:    newScript(luaTidy),
	}
}

// luaVersions reads the versions under a key, and has the merge rule of
// record.Merge (a test compares them). Numbers in Lua are exact to 2^53: a
// hybrid time is therefore taken as its two parts.
const luaVersions = `
local function parse(raw)
	local ms, n, revision, expires, flags = string.match(raw, '^1 (%d+)%-(%d+) (%d+) (%d+) ([-df]+)\n')
	if not ms then return nil end
	return {ms = tonumber(ms), n = tonumber(n), revision = tonumber(revision), expires = tonumber(expires),
		deleted = string.find(flags, 'd', 1, true) ~= nil, final = string.find(flags, 'f', 1, true) ~= nil}
end
local function load(at)
	local versions, all = {}, redis.call('HGETALL', at)
	for i = 1, #all, 2 do
		local v = parse(all[i + 1])
		if not v then return nil end
		v.member, v.source = '', all[i]
		local cut = string.find(all[i], '\0', 1, true)
		if cut then v.member, v.source = string.sub(all[i], 1, cut - 1), string.sub(all[i], cut + 1) end
		versions[all[i]] = v
	end
	return versions
end
local function behind(a, b)
	for i = 1, math.min(#a, #b) do
		local x, y = string.byte(a, i), string.byte(b, i)
		if x ~= y then return x > y end
	end
	return #a > #b
end
local function wins(a, b)
	if a.final ~= b.final then return a.final end
	if a.ms ~= b.ms then return a.ms > b.ms end
	if a.n ~= b.n then return a.n > b.n end
	return behind(a.source, b.source)
end
local function live(versions, member)
	local winner
	for _, v in pairs(versions) do
		if v.member == member and (not winner or wins(v, winner)) then winner = v end
	end
	if winner and not winner.deleted then return winner end
end
local function text(n) return string.format('%.0f', n) end
`

// luaKeep writes versions, with all that goes with them, in one go. The change
// comes first: if anything could fail half-way, there would be a change too
// many rather than one too few.
//
// KEYS: records, changes, heads, keys, due, then the members' sets.
// ARGV: topic, key, source, writer, kind (e expiring, t tombstones), after
// expiry, after expiry of what is final, after deletion, length of the stream,
// inline bytes.
const luaKeep = `
local far = 8000000000000000
local function expire(versions)
	local latest, final = 0, false
	for _, v in pairs(versions) do
		if v.expires == 0 then latest = far end
		if v.expires > latest then latest = v.expires end
		final = final or v.final
	end
	if latest >= far then
		redis.call('PERSIST', KEYS[1])
		redis.call('ZREM', KEYS[5], ARGV[1] .. ':' .. ARGV[2])
		return
	end
	local till = latest + tonumber(final and ARGV[7] or ARGV[6])
	local now = redis.call('TIME')
	till = math.max(till, tonumber(now[1]) * 1000 + 60000)
	redis.call('PEXPIREAT', KEYS[1], text(till))
	redis.call('ZADD', KEYS[5], text(till), ARGV[1] .. ':' .. ARGV[2])
end
local function remind(versions, had)
	local first
	for _, v in pairs(versions) do
		if v.deleted and (not first or v.ms < first) then first = v.ms end
	end
	if first then
		redis.call('ZADD', KEYS[5], text(first + tonumber(ARGV[8])), ARGV[1] .. ':' .. ARGV[2])
	elseif had then
		redis.call('ZREM', KEYS[5], ARGV[1] .. ':' .. ARGV[2])
	end
end
local function keep(versions, fields, head, had)
	local entry, size = {'t', ARGV[1], 'k', ARGV[2], 'w', ARGV[4]}, 0
	for i = 1, #fields, 2 do
		size = size + #fields[i + 1]
		local whole = size <= tonumber(ARGV[10])
		entry[#entry + 1] = (whole and '=' or '~') .. fields[i]
		entry[#entry + 1] = whole and fields[i + 1] or string.match(fields[i + 1], '^[^\n]*\n')
	end
	local id = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[9], '*', unpack(entry))
	redis.call('HSET', KEYS[1], unpack(fields))
	local known = redis.call('HGET', KEYS[3], ARGV[3])
	if not known or tonumber(known) < head then redis.call('HSET', KEYS[3], ARGV[3], text(head)) end
	redis.call('ZADD', KEYS[4], 0, ARGV[2])
	for i = 6, #KEYS do redis.call('ZADD', KEYS[i], 0, ARGV[2]) end
	if ARGV[5] == 'e' then expire(versions) elseif ARGV[5] == 't' then remind(versions, had) end
	return id
end
local function tombs(versions)
	for _, v in pairs(versions) do if v.deleted then return true end end
	return false
end
`

// luaUpdate is one update. ARGV goes on: condition (a, n none live, u
// unchanged), its time in two parts, the clock's time in two parts, the first
// revision, then for each change: field, member, expires, flags, value.
// It answers {1, time in two parts, id of the change}, {0} where the condition
// does not hold, {2} where a later version of this source is there.
const luaUpdate = `
local versions = load(KEYS[1])
if not versions then return {3} end
local had = tombs(versions)
local first = tonumber(ARGV[16])
local own = versions[ARGV[17]]
if own and own.revision >= first then
	if own.revision == first then return {1, text(own.ms), text(own.n), ''} end
	return {2, text(own.revision)}
end
if ARGV[11] ~= 'a' then
	for i = 17, #ARGV, 5 do
		local w = live(versions, ARGV[i + 1])
		if ARGV[11] == 'n' and w then return {0} end
		if ARGV[11] == 'u' and not (w and w.ms == tonumber(ARGV[12]) and w.n == tonumber(ARGV[13])) then return {0} end
	end
end
local ms, n = tonumber(ARGV[14]), tonumber(ARGV[15])
for _, v in pairs(versions) do
	if v.ms > ms or v.ms == ms and v.n >= n then ms, n = v.ms, v.n + 1 end
end
if n > 65535 then ms, n = ms + 1, 0 end
local fields, revision = {}, first - 1
for i = 17, #ARGV, 5 do
	revision = revision + 1
	local raw = '1 ' .. text(ms) .. '-' .. text(n) .. ' ' .. text(revision) .. ' ' .. ARGV[i + 2] .. ' ' .. ARGV[i + 3] .. '\n'
	fields[#fields + 1], fields[#fields + 2] = ARGV[i], raw .. ARGV[i + 4]
	versions[ARGV[i]] = parse(raw)
end
local id = keep(versions, fields, revision, had)
return {1, text(ms), text(n), id}
`

// luaPut keeps one version as another source wrote it, unless what is there is
// as new. ARGV goes on: field, version. It answers {1, id of the change}, or
// {0, id of the last change}.
const luaPut = `
local versions = load(KEYS[1])
if not versions then return {3} end
local had = tombs(versions)
local new, old = parse(ARGV[12]), versions[ARGV[11]]
if old and old.revision >= new.revision then
	local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
	return {0, last[1] and last[1][1] or ''}
end
versions[ARGV[11]] = new
return {1, keep(versions, {ARGV[11], ARGV[12]}, new.revision, had)}
`

// luaRead reads a key's versions and how far its tag's stream is then.
const luaRead = `
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
return {redis.call('HGETALL', KEYS[1]), last[1] and last[1][1] or ''}
`

// luaJoin begins to follow a tag. A stream is never empty: what is at its end
// proves later on that nothing was lost since.
const luaJoin = `
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local id = last[1] and last[1][1] or redis.call('XADD', KEYS[1], '*', 't', '', 'k', '')
return {id, redis.call('HGET', KEYS[2], ARGV[1]) or ''}
`
