-- Trims old results, and removes silent instances, for the leader.
--
-- KEYS  1 results    2 instances    3 accounts
-- ARGV  1 age of results to keep, ms    2 silence after which an instance is forgotten, ms
-- Returns  instance, "<seen, ms> <role> <presence>", ...

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', now - tonumber(ARGV[1])))

local present = {}
local known = redis.call('HGETALL', KEYS[2])
for i = 1, #known, 2 do
    local seen = tonumber(string.match(known[i + 1], '^(%d+) ') or '') or 0
    if now - seen > tonumber(ARGV[2]) then
        redis.call('HDEL', KEYS[2], known[i])
        redis.pcall('HDEL', KEYS[3], known[i]) -- never worth failing for
    else
        table.insert(present, known[i])
        table.insert(present, known[i + 1])
    end
end
return present
