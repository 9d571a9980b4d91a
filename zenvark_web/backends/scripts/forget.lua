-- Removes unused circuits for the leader, except those with a newer generation, and announces it.
--
-- KEYS  1 leader    2 circuits    3 states
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 format version
--       3 length to keep of the states    4... circuit, generation, ...
-- Returns  1 all forgotten, 0 one has another generation or is not there, -1 the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
local all = 1
for i = 4, #ARGV, 2 do
    if generation_in(redis.call('HGET', KEYS[2], ARGV[i])) == tonumber(ARGV[i + 1]) then
        add(KEYS[3], ARGV[3], 'v', ARGV[2], 'forgotten', ARGV[i], 'generation', ARGV[i + 1])
        redis.call('HDEL', KEYS[2], ARGV[i])
    else
        all = 0
    end
end
return all
