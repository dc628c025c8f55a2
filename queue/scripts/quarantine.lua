#!lua flags=allow-oom
-- Puts away a record that cannot be read, so that it is neither lost nor met
-- again: it leaves the schedule, inflight and the debts. The message stays. One
-- that came back (an operator hurried it) leaves them again, and is told of once.
-- KEYS 1 bad 2 queue 3 due 4 inflight 5 ndr 6 stat 7 out 8 lanes
-- ARGV 1 name 2 record 3 lane ('': not in a queue) 4 event
call('ZCARD', KEYS[2])
call('XLEN', KEYS[7])
call('HDEL', KEYS[4], ARGV[1])
call('HDEL', KEYS[5], ARGV[1])
if ARGV[3] ~= '' then
  unschedule({due = KEYS[3], lanes = KEYS[8], stat = KEYS[6]}, KEYS[2], ARGV[3], ARGV[1])
end
if call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return {'KNOWN'} end
return {'OK', call('XADD', KEYS[7], '*', 'e', ARGV[4])}
