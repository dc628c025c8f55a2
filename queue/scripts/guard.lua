#!lua flags=allow-oom
-- Counts failures of a name, and says how long the next try has to wait: from the
-- first one above `free` on, twice as long after each.
-- KEYS 1 counter
-- ARGV 1 'ask' or 'fail' 2 free 3 first pause ms 4 longest pause ms 5 ms after
--      which the last failure is forgotten
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local c = call('HMGET', KEYS[1], 'n', 't')
local n, last = tonumber(c[1] or 0), tonumber(c[2] or 0)
if ARGV[1] == 'fail' then
  n, last = n + 1, now
  call('HSET', KEYS[1], 'n', n, 't', now)
  call('PEXPIRE', KEYS[1], ARGV[5])
end
local over = n - ARGV[2]
if over <= 0 then return {n, 0} end
local pause = math.min(tonumber(ARGV[4]), ARGV[3] * 2 ^ math.min(over - 1, 30))
return {n, math.max(0, math.ceil(last + pause - now))}
