-- Renews the lease of an instance, or takes a free one with a higher epoch. Unless brief, it also
-- registers the instance and returns the time (a command in a script costs as much as one outside).
--
-- KEYS  1 leader      "<epoch>:<instance>", expires with the lease
--       2 epoch       the last epoch given
--       3 states      a new leader is told here
--       4 instances   instance -> "<seen, ms> <role> <presence>"
--       5 circuits    how many there are is told
--       6 accounts    instance -> its account, which is told
--       7 results     kept, as all the others are
--       8 tallies     likewise
--       9 overrides   their newest number is told
--       10 audit      a new leader is told here, too
--       11 policies   kept
--       12 notified   kept
-- ARGV  1 instance    2 ttl, ms    3 lowest epoch to exceed    4 presence, or '' to be brief
--       5 format version    6 length to keep of the states    7 length to keep of the audit
-- Returns  epoch, leader, ms until the lease runs out,
--          and unless brief: now in ms, the newest position in states, the number of circuits,
--          the account or false, the newest numbers of overrides or false

local LONGEST_LEASE = 3600000 -- ms; the most that an instance may ask for
local LONGEST_LEAP = 2 ^ 32

local function newest(stream)
    local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    return entry and entry[1] or '0-0'
end

local last = tonumber(redis.call('GET', KEYS[2]) or '') or 0
if not (last >= 0 and last < 2 ^ 52) then
    last = 0 -- not the fleet's, or too high to count up
end
last = math.max(last, tonumber(ARGV[3]))
local epoch, holder = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(.+)$')
if holder and tonumber(epoch) > last + LONGEST_LEAP then
    holder = nil -- not the fleet's
end
local left = -1
if holder and holder ~= ARGV[1] then
    left = redis.call('PTTL', KEYS[1])
end
if holder and left < 0 then -- this instance's own, or a lease that would never expire
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    left = tonumber(ARGV[2])
elseif holder and left > LONGEST_LEASE then
    redis.call('PEXPIRE', KEYS[1], LONGEST_LEASE)
    left = LONGEST_LEASE
elseif not holder then
    epoch, holder, left = string.format('%.0f', last + 1), ARGV[1], tonumber(ARGV[2])
    redis.call('SET', KEYS[2], epoch, 'PX', DAY)
    redis.call('SET', KEYS[1], epoch .. ':' .. holder, 'PX', ARGV[2])
    local entry = {
        'v', ARGV[5], 'epoch', epoch, 'leader', holder, 'circuits', redis.call('HLEN', KEYS[5])}
    add(KEYS[3], ARGV[6], unpack(entry))
    pcall(add, KEYS[10], ARGV[7], unpack(entry)) -- never worth failing for
end

if ARGV[4] == '' then
    return {epoch, holder, left}
end
keep(KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10],
    KEYS[11], KEYS[12])
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local role = holder == ARGV[1] and 'leader' or 'follower'
redis.call('HSET', KEYS[4], ARGV[1], now .. ' ' .. role .. ' ' .. ARGV[4])
keep(KEYS[4])
local account = redis.pcall('HGET', KEYS[6], ARGV[1]) -- never worth failing for
local numbers = redis.pcall('HGET', KEYS[9], '')
return {epoch, holder, left, now, newest(KEYS[3]), redis.call('HLEN', KEYS[5]),
    type(account) == 'string' and account, type(numbers) == 'string' and numbers}
