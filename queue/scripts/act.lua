#!lua flags=allow-oom
-- An operator's change of one delivery. Fenced by the record's revision, and
-- never while an attempt is under way. Sending it again is harmless.
-- KEYS 1 message 2 inflight 3 queue 4 due 5 lanes 6 held 7 held queue 8 stat
--      9 hist 10 lease 11 out, then the chunks
-- ARGV 1 member 2 delivery number 3 expected revision 4 record 5 due ('': not to
--      be scheduled) 6 lane 7 held ('': none) 8 trace 9 event 10 now 11 id
--      12 owner 13 partition
local rec = call('HGET', KEYS[1], 'd' .. ARGV[2])
if rec == ARGV[4] then return {'OK', ''} end
if call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return {'INFLIGHT'} end
if not rec or finished(rec) then return {'GONE'} end
if revision(rec) ~= ARGV[3] then return {'STALE'} end
call('ZCARD', KEYS[3])
call('ZCARD', KEYS[7])
call('XLEN', KEYS[11])
local S = {due = KEYS[4], lanes = KEYS[5], held = KEYS[6], stat = KEYS[8]}
call('HSET', KEYS[1], 'd' .. ARGV[2], ARGV[4])
grow(KEYS[1], S, #ARGV[4] - #rec)
add_trace(KEYS[1], S, ARGV[8])
note_held(S, KEYS[7], ARGV[6], ARGV[1], ARGV[10], ARGV[7] ~= '')
if ARGV[5] ~= '' then
  schedule(S, KEYS[3], ARGV[6], ARGV[1], ARGV[5])
else
  unschedule(S, KEYS[3], ARGV[6], ARGV[1])
end
local event = call('XADD', KEYS[11], '*', 'e', ARGV[9])
add_left(KEYS[1], finished(ARGV[4]) and -1 or 0, S.stat, KEYS[9], ARGV[10], ARGV[11], 12, #KEYS - 11)
tell_owner(call('HGET', KEYS[10], 'o'), S.stat, ARGV[12], ARGV[13])
return {'OK', event, history(S.stat)}
