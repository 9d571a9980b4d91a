-- Writes the leader's transitions in their order, each to the hash and the stream, or none without
-- the lease. The stream is written first: a key of another type fails there, before any write.
--
-- KEYS  1 leader    2 circuits    3 states    4 audit
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 length to keep of the states
--       3 length to keep of the audit    4... circuit, generation, transition, ...
-- Returns  1 all in force (also what was written before), 0 not all are, -1 the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
local function changes_state(transition)
    local before, after = string.match(transition, '"previous":"([%w_]+)","state":"([%w_]+)"')
    return before ~= after
end

local all = 1
for i = 4, #ARGV, 3 do
    local stored = redis.call('HGET', KEYS[2], ARGV[i])
    local ahead = generation_in(stored) - tonumber(ARGV[i + 1])
    if ahead < 0 or ahead > 2 ^ 32 then -- further ahead is not the fleet's
        add(KEYS[3], ARGV[2], 'transition', ARGV[i + 2])
        redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2])
        if changes_state(ARGV[i + 2]) then
            pcall(add, KEYS[4], ARGV[3], 'transition', ARGV[i + 2]) -- never worth failing for
        end
    elseif stored ~= ARGV[i + 2] then
        all = 0
    end
end
keep(KEYS[2])
return all
