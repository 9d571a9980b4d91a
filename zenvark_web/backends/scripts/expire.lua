-- Removes overrides whose time is over, for the leader, and announces each. Also removes the records
-- of overrides that were lifted long ago.
--
-- KEYS  1 leader    2 overrides    3 states    4 audit
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 numbers to keep
--       3 length to keep of the states    4 length to keep of the audit    5 format version
--       6... circuit or pattern, number, ... of overrides that have ended by the leader's own clock
-- Returns  1, or -1 if the lease is over

local LIFTED_FOR = 3600000 -- ms for which the record of a lifted override is kept

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
local fields = fields_of(KEYS[2])
if #fields == 0 then
    return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ended = {}
for i = 6, #ARGV, 2 do
    ended[ARGV[i]] = ARGV[i + 1]
end

for i = 1, #fields, 2 do
    local name, record = fields[i], fields[i + 1]
    local head, at, till, number =
        string.match(record, '^(.*)"after":%d+,"at":(%d+),"until":(%w+),"number":(%d+)}$')
    if name ~= '' and head then
        if string.find(head, '"mode":null,', 1, true) then
            if now - tonumber(at) > LIFTED_FOR then
                redis.call('HDEL', KEYS[2], name)
            end
        elseif till ~= 'null' and ((tonumber(till) or math.huge) <= now or ended[name] == number) then
            local numbers, last = known_numbers(KEYS[2], now)
            number = string.format('%.0f', math.max(last + 1, now))
            record = string.gsub(head, '"mode":"[%w_]+",', '"mode":null,', 1)
                .. '"after":' .. string.format('%.0f', last)
                .. ',"at":' .. string.format('%.0f', now)
                .. ',"until":' .. till .. ',"number":' .. number .. '}'
            add(KEYS[3], ARGV[3], 'v', ARGV[5], 'override', record)
            redis.call('HSET', KEYS[2], '', later_numbers(numbers, number, ARGV[2]))
            redis.call('HDEL', KEYS[2], name)
            add(KEYS[4], ARGV[4], 'v', ARGV[5], 'override', record)
        end
    end
end
return 1
