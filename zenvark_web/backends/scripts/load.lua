-- The snapshot a newcomer starts from: the states, and the positions that belong to them.
--
-- KEYS  1 circuits    2 states    3 results    4 accounts
-- Returns  now in ms, the newest position in states, the newest position in results,
--          {circuit, transition, circuit, transition, ...}, {instance, account, ...}

local function newest(stream)
    local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    return entry and entry[1] or '0-0'
end

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local accounts = redis.pcall('HGETALL', KEYS[4]) -- never worth failing for
return {now, newest(KEYS[2]), newest(KEYS[3]), redis.call('HGETALL', KEYS[1]),
    accounts.err and {} or accounts}
