-- The snapshot a newcomer starts from: the states, and the position that belongs to them.
--
-- KEYS  1 circuits    2 states
-- Returns  now in ms, the newest position in states, circuit, transition, circuit, transition, ...

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
return {now, newest and newest[1] or '0-0', redis.call('HGETALL', KEYS[1])}
