#!lua flags=allow-oom
-- Ends an attempt of which no fact ever came. Fenced by the lease, the attempt's
-- id and the record's revision.
-- KEYS 1 lease 2 message 3 inflight 4 queue 5 due 6 out 7 stat 8 lanes 9 held
--      10 held queue
-- ARGV 1 owner 2 epoch 3 member 4 delivery number 5 attempt 6 expected revision
--      7 record 8 due ('': held) 9 lane 10 event 11 held ('': none) 12 now 13 trace
local lease = call('HMGET', KEYS[1], 'o', 'e')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return {'STALE'} end
if call('HGET', KEYS[3], ARGV[3]) ~= ARGV[5] then return {'GONE'} end
local rec = call('HGET', KEYS[2], 'd' .. ARGV[4])
if not rec or finished(rec) then
  call('HDEL', KEYS[3], ARGV[3])
  return {'GONE'}
end
if revision(rec) ~= ARGV[6] then return {'CHANGED'} end
call('HDEL', KEYS[3], ARGV[3])
call('HSET', KEYS[2], 'd' .. ARGV[4], ARGV[7])
local S = {due = KEYS[5], lanes = KEYS[8], held = KEYS[9], stat = KEYS[7]}
if ARGV[8] ~= '' then schedule(S, KEYS[4], ARGV[9], ARGV[3], ARGV[8]) end
note_held(S, KEYS[10], ARGV[9], ARGV[3], ARGV[12], ARGV[11] ~= '')
add_trace(KEYS[2], S, ARGV[13])
return {'OK', call('XADD', KEYS[6], '*', 'e', ARGV[10])}
