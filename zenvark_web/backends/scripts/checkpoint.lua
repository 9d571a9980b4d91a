-- A leader writes down what it has made of results: for the instances, and for the next leader.
-- How far the tallies go comes last: if anything before it fails, they go no further.
--
-- KEYS  1 leader    2 accounts    3 tallies
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 how many accounts follow
--       3... instance, account, ..., circuit, tally or '', ..., '', position
-- Returns  1 written, -1 the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
local tallies = 3 + 2 * tonumber(ARGV[2])
for i = 3, #ARGV, 2 do
    local hash = i < tallies and KEYS[2] or KEYS[3]
    if ARGV[i + 1] == '' then
        redis.call('HDEL', hash, ARGV[i])
    else
        redis.call('HSET', hash, ARGV[i], ARGV[i + 1])
    end
end
keep(KEYS[2], KEYS[3])
return 1
