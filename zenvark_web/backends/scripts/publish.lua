-- A leader writes a transition: into the hash and the stream together, or not at all.
--
-- KEYS  1 leader    2 circuits    3 states
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 circuit    3 generation    4 transition
--       5 length to keep of the states
-- Returns  1 in force (also when it was written before), 0 overtaken, -1 the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
local stored = redis.call('HGET', KEYS[2], ARGV[2])
local readable, known = pcall(cjson.decode, stored or '{}')
local generation = readable and type(known) == 'table' and tonumber(known.generation) or -1
if generation >= tonumber(ARGV[3]) then
    return stored == ARGV[4] and 1 or 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'transition', ARGV[4])
return 1
