-- Sets or lifts an override for an operator, who needs no lease: it works while nobody leads. The
-- record is written to the hash, announced in the states and added to the audit.
--
-- A lifted override leaves its record in the hash for a while: an instance that missed the news
-- must not keep what it knows, if the store lost the override before it was lifted.
--
-- KEYS  1 overrides   circuit or pattern -> record, '' -> the latest numbers
--       2 states    3 audit
-- ARGV  1 circuit or pattern    2 mode, or '' to lift    3 the beginning of the record
--       4 ms until it ends, or ''    5 number to exceed
--       6 number of the override that must be in force, 0 for none, or ''
--       7 the most overrides    8 numbers to keep
--       9 length to keep of the states    10 length to keep of the audit    11 format version
-- Returns  {1, record, the record that was in force or false}, {0, the record in force or false} if another one is, or {-1} if it is full

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function number_in(record)
    return tonumber(string.match(record, '"number":(%d+)}$') or '') or 0
end

local function in_force(record)
    local till = tonumber(string.match(record, '"until":(%d+),"number":%d+}$') or '')
    return not string.find(record, '"mode":null,', 1, true) and not (till and till <= now)
end

local stored = redis.call('HGET', KEYS[1], ARGV[1])
local current = stored and in_force(stored) and stored
if ARGV[6] ~= '' and (current and number_in(current) or 0) ~= tonumber(ARGV[6]) then
    return {0, current}
end

-- The field of the numbers is there from the first override on, and counts as none.
if not stored and redis.call('HLEN', KEYS[1]) > tonumber(ARGV[7]) then
    local fields = redis.call('HGETALL', KEYS[1])
    for i = 1, #fields, 2 do
        if fields[i] ~= '' and not in_force(fields[i + 1]) then
            redis.call('HDEL', KEYS[1], fields[i])
        end
    end
    if ARGV[2] ~= '' and redis.call('HLEN', KEYS[1]) > tonumber(ARGV[7]) then
        return {-1}
    end
end

local numbers, last = known_numbers(KEYS[1], now)
local exceeded = tonumber(ARGV[5])
if exceeded > now + DAY then
    exceeded = 0 -- its instance has not noticed yet that the numbers start anew
end
-- At least the time: after a loss, it exceeds the numbers that instances know.
local number = string.format('%.0f', math.max(last + 1, exceeded + 1, now))
local ends = ARGV[4] == '' and 'null' or string.format('%.0f', now + tonumber(ARGV[4]))
local record = ARGV[3] .. '"after":' .. string.format('%.0f', last)
    .. ',"at":' .. string.format('%.0f', now)
    .. ',"until":' .. ends .. ',"number":' .. number .. '}'

-- First: nothing is in force that the audit does not contain.
add(KEYS[3], ARGV[10], 'v', ARGV[11], 'override', record)
add(KEYS[2], ARGV[9], 'v', ARGV[11], 'override', record)
redis.call('HSET', KEYS[1], ARGV[1], record, '', later_numbers(numbers, number, ARGV[8]))
keep_long(KEYS[1], KEYS[3])
return {1, record, current}
