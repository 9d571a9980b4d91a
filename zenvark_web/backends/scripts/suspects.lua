-- Writes the suspects that the leader has found into the audit.
--
-- KEYS  1 leader    2 audit
-- ARGV  1 the lease it holds, "<epoch>:<instance>"    2 format version
--       3 length to keep of the audit    4... circuit, instance, failures, calls, since in ms, ...
-- Returns  1, or -1 if the lease is over

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return -1
end
for i = 4, #ARGV, 5 do
    add(KEYS[2], ARGV[3], 'v', ARGV[2], 'suspect', ARGV[i], 'instance', ARGV[i + 1],
        'failures', ARGV[i + 2], 'calls', ARGV[i + 3], 'since', ARGV[i + 4])
end
return 1
