-- A leader writes down what it has made of instances' results.
--
-- KEYS  1 leader    2 accounts
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2... instance, account, ...
-- Returns  1 written, -1 the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
for i = 2, #ARGV, 1000 do -- as many as fit on the stack
    redis.call('HSET', KEYS[2], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
return 1
