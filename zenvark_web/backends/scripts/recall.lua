-- A leader asks the holder of a grant for the permits that it has not used.
--
-- KEYS  1 leader    2 states
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 format version
--       3 length to keep of the states    4 circuit    5 generation of the grant
-- Returns  1, or -1 if the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*',
    'v', ARGV[2], 'recalled', ARGV[4], 'generation', ARGV[5])
return 1
