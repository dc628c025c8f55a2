#!lua flags=allow-oom
-- Records what came of an attempt. Fenced by the attempt's id and the record's
-- revision, not by the lease: a fact is a fact whoever owns the partition. Modes:
--   attempt  an intent preceded it and must still stand
--   direct   no attempt was made (expired, cancelled): nothing may be in flight
--   merged   the caller joined its facts to the record that it was shown
-- KEYS 1 message 2 inflight 3 queue 4 due 5 out 6 ndr 7 stat 8 hist 9 lease
--      10 lanes 11 held 12 held queue, then the chunks
-- ARGV 1 member 2 delivery number 3 attempt id 4 expected revision 5 record
--      6 mode 7 due ('': not to be scheduled) 8 lane 9 event ('': none)
--      10 debt field 11 debt ('': none) 12 now 13 id 14 owner 15 partition
--      16 held ('': none) 17 trace ('': none)
local attempt = call('HGET', KEYS[2], ARGV[1])
local mine = attempt and attempt_id(attempt) == ARGV[3]
local field, attempts = 'd' .. ARGV[2], 'a' .. ARGV[2]
local m = call('HMGET', KEYS[1], field, attempts, 'left', 'hs', 'tr', 'td')
local rec, known, trace = m[1], m[2] or '', m[5] or ''
if not rec then
  if mine then call('HDEL', KEYS[2], ARGV[1]) end
  return {'GONE'}
end
for i = 1, #known, 16 do
  if string.sub(known, i, i + 15) == ARGV[3] then return {'DONE'} end
end
if revision(rec) ~= ARGV[4] or (ARGV[6] == 'attempt' and not mine)
   or (ARGV[6] == 'direct' and attempt) then
  return {'STALE', rec}
end
local other = attempt and not mine
if mine then call('HDEL', KEYS[2], ARGV[1]) end
local S = {due = KEYS[4], lanes = KEYS[10], held = KEYS[11], stat = KEYS[7]}
local longer, dropped = trace, 0
if ARGV[17] ~= '' then longer, dropped = longer_trace(trace, ARGV[17]) end
local more = #ARGV[5] - #rec + #longer - #trace
call('HSET', KEYS[1], field, ARGV[5], attempts, string.sub(ARGV[3] .. known, 1, 64),
     'hs', (m[4] or 0) + more, 'tr', longer, 'td', (m[6] or 0) + dropped)
if tonumber(m[3] or 0) <= 0 then call('HINCRBY', S.stat, 'hbytes', more) end
note_held(S, KEYS[12], ARGV[8], ARGV[1], ARGV[12], ARGV[16] ~= '')
local left = 0
if finished(ARGV[5]) then
  unschedule(S, KEYS[3], ARGV[8], ARGV[1])
  if not finished(rec) then left = -1 end
elseif ARGV[7] == '' then
  unschedule(S, KEYS[3], ARGV[8], ARGV[1])
elseif not other and (ARGV[6] ~= 'merged' or not call('ZSCORE', KEYS[3], ARGV[1])) then
  schedule(S, KEYS[3], ARGV[8], ARGV[1], ARGV[7])
end
if ARGV[11] ~= '' then
  call('HSET', KEYS[6], ARGV[10], ARGV[11])
  left = left + 1
end
local event = ''
if ARGV[9] ~= '' then event = call('XADD', KEYS[5], '*', 'e', ARGV[9]) end
add_left(KEYS[1], left, KEYS[7], KEYS[8], ARGV[12], ARGV[13], 13, #KEYS - 12)
tell_owner(call('HGET', KEYS[9], 'o'), KEYS[7], ARGV[14], ARGV[15])
return {'OK', event, history(KEYS[7])}
