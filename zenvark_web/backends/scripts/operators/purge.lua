-- Deletes the keys of a shard, unless an instance lives there. Or only looks.
--
-- KEYS  1 instances    2 circuits    3 leader    4... all other keys of the shard
-- ARGV  1 whether to delete, 0 or 1    2 ms without a heartbeat after which an instance is gone
-- Returns  now in ms, {the living instances}, {the number of each key that there is},
--          the last heartbeat in ms or false, the number of circuits

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local present = redis.pcall('HGETALL', KEYS[1])
if present.err then
    if not string.find(present.err, 'WRONGTYPE', 1, true) then
        return present -- not permitted, say: there may be instances
    end
    present = {} -- another application's
end
local living, last = {}, -1
for i = 1, #present, 2 do
    local seen = tonumber(string.match(present[i + 1], '^(%d+) ') or '') or 0
    if seen > now - tonumber(ARGV[2]) then
        table.insert(living, present[i])
    end
    last = math.max(last, seen)
end

-- A lease may outlast the silence after which an instance is gone.
local lease = redis.pcall('GET', KEYS[3])
if type(lease) == 'table' and not string.find(lease.err, 'WRONGTYPE', 1, true) then
    return lease
end
local holder = type(lease) == 'string' and string.match(lease, '^%d+:(.+)$')
if holder and redis.call('PTTL', KEYS[3]) > 0 then
    table.insert(living, holder)
end

local circuits = redis.pcall('HLEN', KEYS[2])
local there = {}
for i, key in ipairs(KEYS) do
    if redis.call('PTTL', key) ~= -2 then
        table.insert(there, i)
    end
end
if ARGV[1] == '1' and #living == 0 then
    redis.call('DEL', unpack(KEYS))
end
return {string.format('%.0f', now), living, there, last >= 0 and string.format('%.0f', last),
    type(circuits) == 'number' and circuits or 0}
