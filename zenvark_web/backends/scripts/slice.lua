-- Returns a part of a large hash, so that no other command waits for all of it.
--
-- KEYS  1 hash
-- ARGV  1 cursor, 0 at first    2 about how many fields to look at
--       3 of the circuits, which: closed, other or all
-- Returns  the next cursor, {field, value, field, value, ...}

local cursor, fields = unpack(redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2]))
local found = {}
for i = 1, #fields, 2 do
    local closed = string.find(fields[i + 1], '"state":"closed"', 1, true) and 'closed' or 'other'
    if ARGV[3] == 'all' or ARGV[3] == closed then
        table.insert(found, fields[i])
        table.insert(found, fields[i + 1])
    end
end
return {cursor, found}
