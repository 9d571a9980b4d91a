-- Asks the holders of grants, for the leader, to return their unused permits.
--
-- KEYS  1 leader    2 states
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 format version
--       3 length to keep of the states    4... circuit, generation of its grant, ...
-- Returns  1, or -1 if the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
for i = 4, #ARGV, 2 do
    add(KEYS[2], ARGV[3], 'v', ARGV[2], 'recalled', ARGV[i], 'generation', ARGV[i + 1])
end
return 1
