-- Asks the leader, for an operator, to attempt the recovery of a circuit now.
--
-- KEYS  1 states    2 audit
-- ARGV  1 format version    2 length to keep of the states    3 length to keep of the audit
--       4 circuit    5 actor    6 reason
-- Returns  1

local entry = {'v', ARGV[1], 'probe', ARGV[4], 'actor', ARGV[5], 'reason', ARGV[6]}
add(KEYS[1], ARGV[2], unpack(entry))
add(KEYS[2], ARGV[3], unpack(entry))
keep_long(KEYS[2])
return 1
