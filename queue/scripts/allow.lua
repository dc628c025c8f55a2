#!lua
-- Takes recipients out of what a submitter may have, all of them or none. The
-- rate is a bucket that fills at an even pace ("tat": when it will be full again);
-- the rest counts in days, UTC, by Redis' clock.
-- KEYS 1 account 2 recipients seen
-- ARGV 1 recipients 2 rate 3 per ms 4 daily 5 new in a day (0: no limit) 6 most
--      that are remembered 7 for how many ms, then digests of the recipients
--      (only with 5)
local n, rate, per = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local daily, fresh_most = tonumber(ARGV[4]), tonumber(ARGV[5])
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local day = math.floor(now / 86400000)
local midnight = (day + 1) * 86400000 - now
local a = call('HMGET', KEYS[1], 'tat', 'day', 'n', 'f')
local today = tonumber(a[2] or -1) == day
local used, fresh_used = today and tonumber(a[3]) or 0, today and tonumber(a[4]) or 0
local tat = math.max(tonumber(a[1] or 0), now)
if rate > 0 then
  tat = tat + n * per / rate
  local late = tat - now - per
  if late > 0 then return {'RATE', math.ceil(late)} end
end
if daily > 0 and used + n > daily then return {'DAILY', midnight} end
local fresh = {}
if fresh_most > 0 then
  for i = 8, #ARGV do
    local seen = call('ZSCORE', KEYS[2], ARGV[i])
    if not seen or tonumber(seen) < now - ARGV[7] then fresh[#fresh + 1] = i - 8 end
  end
  if fresh_used + #fresh > fresh_most then return {'NEW', midnight} end
  for i = 8, #ARGV do call('ZADD', KEYS[2], now, ARGV[i]) end
  call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[6])
  call('PEXPIRE', KEYS[2], ARGV[7])
end
call('HSET', KEYS[1], 'tat', string.format('%.3f', tat), 'day', day, 'n', used + n,
     'f', fresh_used + #fresh)
call('PEXPIRE', KEYS[1], 2 * 86400000)
local left = rate > 0 and math.floor((per - (tat - now)) * rate / per) or 0
return {'OK', left, math.ceil(tat - now), daily - used - n, midnight, day, fresh}
