package redisdb

// luaExpired tidies up after a key that Redis has let go: its place in the
// indices, with a word to the watchers. Where the key is there still, it says
// when to look again.
//
// KEYS: records, changes, keys, due. ARGV: topic, key, length of the stream.
const luaExpired = `
local name = ARGV[1] .. ':' .. ARGV[2]
local left = redis.call('PTTL', KEYS[1])
if left == -1 then redis.call('ZREM', KEYS[4], name) return 0 end
if left >= 0 then
	local now = redis.call('TIME')
	redis.call('ZADD', KEYS[4], string.format('%.0f', tonumber(now[1]) * 1000 + left + 1000), name)
	return 0
end
redis.call('ZREM', KEYS[4], name)
if redis.call('ZREM', KEYS[3], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 't', ARGV[1], 'k', ARGV[2], '-*', '')
return 1
`

// luaDrop takes tombstones away, if all versions of the key are still those
// that were judged.
//
// KEYS: records, changes, keys, due, then the members' sets that lose the key.
// ARGV: topic, key, length of the stream, when to look again (-: never), number
// of fields that are there, these with their versions, fields to drop.
const luaDrop = `
local n = tonumber(ARGV[5])
if redis.call('HLEN', KEYS[1]) ~= n then return 0 end
for i = 6, 4 + 2 * n, 2 do
	if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
local name, entry = ARGV[1] .. ':' .. ARGV[2], {'t', ARGV[1], 'k', ARGV[2]}
local dropped = 0
for i = 6 + 2 * n, #ARGV do
	entry[#entry + 1] = '-' .. ARGV[i]
	entry[#entry + 1] = redis.call('HGET', KEYS[1], ARGV[i])
	dropped = dropped + 1
end
if dropped > 0 then
	redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(entry))
	for i = 6 + 2 * n, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
end
for i = 5, #KEYS do redis.call('ZREM', KEYS[i], ARGV[2]) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[3], ARGV[2]) end
if ARGV[4] == '-' then redis.call('ZREM', KEYS[4], name) else redis.call('ZADD', KEYS[4], ARGV[4], name) end
return dropped
`

// luaGone takes one version away, if it is still the one that was meant. What is
// due of its key is tidied up when it is. It answers as luaPut does.
//
// KEYS: records, changes, keys, the member's set. ARGV: topic, key, length of
// the stream, field, what the fields of its member begin with, revision.
const luaGone = `
local raw = redis.call('HGET', KEYS[1], ARGV[4])
local revision = raw and string.match(raw, '^1 %d+%-%d+ (%d+) ')
if not revision or tonumber(revision) ~= tonumber(ARGV[6]) then
	local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
	return {0, last[1] and last[1][1] or ''}
end
local id = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*',
	't', ARGV[1], 'k', ARGV[2], '-' .. ARGV[4], string.match(raw, '^[^\n]*\n'))
redis.call('HDEL', KEYS[1], ARGV[4])
local others = false
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
	others = others or string.sub(field, 1, #ARGV[5]) == ARGV[5]
end
if not others then redis.call('ZREM', KEYS[4], ARGV[2]) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[3], ARGV[2]) end
return {1, id}
`

// luaTidy takes a key out of an index where it has no records. KEYS: records, index.
const luaTidy = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
return redis.call('ZREM', KEYS[2], ARGV[1])
`
