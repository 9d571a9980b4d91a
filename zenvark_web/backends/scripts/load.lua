-- Returns the snapshot from which an instance starts: the states, and the corresponding positions.
-- A leader also receives the checkpoint. Large hashes are left out, and loaded in parts.
--
-- KEYS  1 circuits    2 states    3 results    4 accounts    5 tallies    6 overrides
--       7 notified
-- ARGV  1 whether it leads, 0 or 1    2 the most fields of a hash to give at once
-- Returns  now in ms, the newest position in states, the newest position in results,
--          {circuit, transition, circuit, transition, ...} or false,
--          {instance, account, ...}, {circuit, snapshot, ...} or false,
--          {the newest position of a stream that has begun anew, ...},
--          {circuit, override, ...}, the position up to which the leader has notified or false

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local astray = {}

-- A stream whose newest entry is more than a day ahead of the clock is deleted: the entry is not the
-- fleet's, and all further entries would follow it.
local function newest(stream)
    local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    local position = entry and entry[1] or '0-0'
    if tonumber(string.match(position, '^%d+')) > now + DAY then
        redis.call('DEL', stream)
        table.insert(astray, position)
        return '0-0'
    end
    return position
end

local function small(hash)
    local fields = redis.pcall('HLEN', hash)
    return type(fields) ~= 'number' or fields <= tonumber(ARGV[2])
end

local function made_of_results(hash)
    local kept = ARGV[1] == '1' and redis.pcall('HGETALL', hash) or {}
    return kept.err and {} or kept -- never worth failing for
end

local function overrides()
    local numbers = known_numbers(KEYS[6], now)
    local fields = fields_of(KEYS[6])
    if #fields > 0 then
        table.insert(fields, '') -- a part of them need not contain the numbers
        table.insert(fields, numbers)
    end
    return fields
end

local notified = ARGV[1] == '1' and redis.pcall('GET', KEYS[7])
return {string.format('%.0f', now), newest(KEYS[2]), newest(KEYS[3]),
    small(KEYS[1]) and redis.call('HGETALL', KEYS[1]), made_of_results(KEYS[4]),
    (ARGV[1] == '0' or small(KEYS[5])) and made_of_results(KEYS[5]), astray, overrides(),
    type(notified) == 'string' and notified}
