#!lua flags=allow-oom
-- Takes back an intent whose outcome is unknown: the delivery returns to the
-- schedule, and a new revision refuses the intent if it still comes.
-- KEYS 1 inflight 2 queue 3 due 4 message 5 stat 6 lanes
-- ARGV 1 member 2 lane 3 delivery field 4 revision 5 next revision 6 attempt 7 due
local rec = call('HGET', KEYS[4], ARGV[3])
if not rec or revision(rec) ~= ARGV[4] then return 'GONE' end
call('HSET', KEYS[4], ARGV[3], string.sub(rec, 1, 1) .. ARGV[5] .. string.sub(rec, 10))
if call('HGET', KEYS[1], ARGV[1]) == ARGV[6] then
  call('HDEL', KEYS[1], ARGV[1])
  schedule({due = KEYS[3], lanes = KEYS[6], stat = KEYS[5]}, KEYS[2], ARGV[2], ARGV[1], ARGV[7])
end
return 'OK'
