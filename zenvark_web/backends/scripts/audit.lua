-- Returns the newest entries of the audit.
--
-- KEYS  1 audit
-- ARGV  1 only entries after this position    2 how many at most
-- Returns  {{position, {field, value, ...}}, ...}, newest first

return redis.call('XREVRANGE', KEYS[1], '+', '(' .. ARGV[1], 'COUNT', ARGV[2])
