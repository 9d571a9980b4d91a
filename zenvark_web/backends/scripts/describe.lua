-- Stores texts of policies under their digests. When there are too many, the texts of others go; they
-- store them again within a minute.
--
-- KEYS  1 policies
-- ARGV  1 the most texts    2... digest, text, ...

for i = 2, #ARGV, 2 do
    if not redis.call('HGET', KEYS[1], ARGV[i]) then
        if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then
            redis.call('DEL', KEYS[1])
        end
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
keep(KEYS[1])
return 1
