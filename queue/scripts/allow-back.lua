#!lua flags=allow-oom
-- Gives back what allow.lua took for a message that was not accepted.
-- KEYS 1 account 2 recipients seen
-- ARGV 1 recipients 2 rate 3 per ms 4 day in which they were taken, then digests
--      of those that were new
local a = call('HMGET', KEYS[1], 'tat', 'day', 'n', 'f')
if not a[1] then return 'GONE' end
local n, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
if rate > 0 then
  call('HSET', KEYS[1], 'tat', string.format('%.3f', a[1] - n * ARGV[3] / rate))
end
if a[2] == ARGV[4] then
  call('HSET', KEYS[1], 'n', math.max(0, a[3] - n), 'f', math.max(0, a[4] - (#ARGV - 4)))
end
for i = 5, #ARGV do call('ZREM', KEYS[2], ARGV[i]) end
return 'OK'
