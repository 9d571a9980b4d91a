-- Removes an instance; if it holds the lease, releases and announces it.
--
-- KEYS  1 leader    2 states    3 instances
-- ARGV  1 instance  2 format version    3 length to keep of the states

redis.call('HDEL', KEYS[3], ARGV[1])
local epoch, holder = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(.+)$')
if holder == ARGV[1] then
    redis.call('DEL', KEYS[1])
    add(KEYS[2], ARGV[3], 'v', ARGV[2], 'epoch', epoch, 'leader', '', 'circuits', '')
end
return 1
