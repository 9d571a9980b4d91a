-- Gives back the overrides that the store has lost, unless they have changed since they were read.
-- Every instance that notices the loss may do it, because each writes what it knows and the store
-- has: it works while nobody leads. The readers are told to load the overrides again.
--
-- KEYS  1 overrides    2 states
-- ARGV  1 the numbers as they were read    2 the numbers to write    3 format version
--       4 length to keep of the states    5... circuit or pattern, record, ...
-- Returns  1 written, 0 they have changed

-- The numbers as an instance reads and writes them, whoever has written them.
local function canonical(stored)
    local numbers = {}
    for number in string.gmatch(stored, '%d+') do
        table.insert(numbers, tonumber(number))
    end
    table.sort(numbers)
    if string.find(stored, '[^%d ]') or #numbers == 0 or numbers[#numbers] > 2 ^ 53 then
        return '0'
    end
    for i = 1, #numbers do
        numbers[i] = string.format('%.0f', numbers[i])
    end
    return table.concat(numbers, ' ')
end

if canonical(redis.call('HGET', KEYS[1], '') or '0') ~= ARGV[1] then
    return 0
end
add(KEYS[2], ARGV[4], 'v', ARGV[3], 'overrides', string.match(ARGV[2], '(%d+)$'))
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '', ARGV[2])
for i = 5, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
keep_long(KEYS[1])
return 1
