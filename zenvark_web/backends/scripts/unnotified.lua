-- Records up to which entry of the states the leader has called `on_published`, and returns the next.
--
-- KEYS  1 leader    2 states    3 notified
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 that entry's position
--       3 the most entries to return, or 0
-- Returns  {{position, {field, value, ...}}, ...}, oldest first, or -1 if the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
redis.call('SET', KEYS[3], ARGV[2], 'PX', DAY)
local entries = ARGV[3] ~= '0'
    and redis.call('XREAD', 'COUNT', ARGV[3], 'STREAMS', KEYS[2], ARGV[2])
return entries and entries[1][2] or {}
