-- Returns what only the store knows of a fleet, for those who look at it. Writes nothing.
--
-- KEYS  1 leader    2 instances    3 states    4 tallies
-- ARGV  1 position after which entries of states are new    2 the most entries to return
--       3 the most fields of a hash to read    4 whether to return the circuits, 0 or 1
-- Returns  now in ms, the lease or false, {instance, presence, ...} or false,
--          the newest position in states, new entries (newest first), {circuit, ...} or false,
--          {circuit, snapshot, ...} of the circuits with suspects

local MOST_SUSPECTED = 200 -- and half as many circuits

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function fields(hash)
    local number = redis.pcall('HLEN', hash)
    if type(number) ~= 'number' then
        return false
    end
    if number > tonumber(ARGV[3]) then
        return redis.call('HSCAN', hash, '0', 'COUNT', ARGV[3])[2]
    end
    return redis.call('HGETALL', hash)
end

local function names(pairs)
    local found = {}
    for i = 1, #pairs, 2 do
        table.insert(found, pairs[i])
    end
    return found
end

-- The snapshot of a circuit ends with its suspects, or with a number: nearly all have none.
local function suspected(pairs)
    local found = {}
    for i = 1, #pairs, 2 do
        if pairs[i] ~= '' and not string.find(pairs[i + 1], '%d%]$') and #found < MOST_SUSPECTED then
            table.insert(found, pairs[i])
            table.insert(found, pairs[i + 1])
        end
    end
    return found
end

local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local newest = last and last[1] or '0-0'
local entries = {}
if newest ~= ARGV[1] then
    entries = redis.call('XREVRANGE', KEYS[3], '+', '(' .. ARGV[1], 'COUNT', ARGV[2])
end
local called = ARGV[4] == '1' and fields(KEYS[4])
local lease = redis.pcall('GET', KEYS[1])
return {string.format('%.0f', now), type(lease) == 'string' and lease, fields(KEYS[2]), newest,
    entries, called and names(called), called and suspected(called) or {}}
