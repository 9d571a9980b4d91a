-- Returns some fields of a hash.
--
-- KEYS  1 hash
-- ARGV  1... field
-- Returns  {value or false, ...}

local values = {}
for i = 1, #ARGV, 1 do
    values[i] = redis.call('HGET', KEYS[1], ARGV[i])
end
return values
