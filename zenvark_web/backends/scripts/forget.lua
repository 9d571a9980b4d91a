-- A leader drops a circuit that has been closed for long, and tells so; not if it has moved on.
--
-- KEYS  1 leader    2 circuits    3 states
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 circuit    3 generation
--       4 format version    5 length to keep of the states
-- Returns  1 forgotten, 0 there is another generation or none, -1 the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
local readable, known = pcall(cjson.decode, redis.call('HGET', KEYS[2], ARGV[2]) or '{}')
if not readable or type(known) ~= 'table' or known.generation ~= tonumber(ARGV[3]) then
    return 0
end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*',
    'v', ARGV[4], 'forgotten', ARGV[2], 'generation', ARGV[3])
return 1
