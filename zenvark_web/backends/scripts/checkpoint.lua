-- Writes the leader's checkpoint: accounts for the instances, window snapshots for the next leader.
-- The position is written last: if a write before it fails, the old position stays.
--
-- KEYS  1 leader    2 accounts    3 tallies
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 how many accounts follow
--       3... instance, account, ..., circuit, snapshot or '', ..., '', position
-- Returns  1 written, -1 the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
local snapshots = 3 + 2 * tonumber(ARGV[2])
for i = 3, #ARGV, 2 do
    local hash = i < snapshots and KEYS[2] or KEYS[3]
    if ARGV[i + 1] == '' then
        redis.call('HDEL', hash, ARGV[i])
    else
        redis.call('HSET', hash, ARGV[i], ARGV[i + 1])
    end
end
keep(KEYS[2], KEYS[3])
return 1
