-- Adds the batch of an instance to the results, with its time in transit: a server that hung
-- receives old batches when it resumes.
--
-- KEYS  1 results
-- ARGV  1 length to keep    2 when it was sent, ms    3... the batch's fields
-- Returns  now in ms

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local late = math.max(0, now - tonumber(ARGV[2]))
add(KEYS[1], ARGV[1], 'late', string.format('%.0f', late), unpack(ARGV, 3))
return string.format('%.0f', now)
