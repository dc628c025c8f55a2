#!lua flags=allow-oom
-- Pays debts of one message: removes them and enqueues the notice's message, or
-- only removes them. Begins with the removal. A notice of one chunk comes as an
-- argument, so that a full Redis, which refuses plain writes, can still drain.
-- KEYS 1 ndr 2 original 3 stat 4 hist 5 lease 6 due 7 new message 8 queue
--      9 index 10 lanes, then nc chunks of the notice, then the original's chunks
-- ARGV 1 debt fields, each followed by a space 2 original id 3 now 4 owner
--      5 partition 6 new id ('': drop only) 7 nc 8 body ('': in chunks already)
--      9 message record 10 delivery record 11 member 12 due ('': not scheduled)
--      13 lane 14 properties, then fields of the original that name the notice
local nc = tonumber(ARGV[7])
local debts, owed = {}, 0
for name in string.gmatch(ARGV[1], '[^ ]+') do
  debts[#debts + 1] = name
  owed = owed + call('HEXISTS', KEYS[1], name)
end
if owed < #debts then
  if ARGV[6] ~= '' and call('EXISTS', KEYS[7]) == 1 then return {'OK', history(KEYS[3])} end
  return {'GONE'}
end
for i = 11, 10 + nc do
  if ARGV[8] == '' and call('EXISTS', KEYS[i]) == 0 then return {'CHUNK'} end
end
call('ZCARD', KEYS[8])
call('ZCARD', KEYS[9])
call('ZCARD', KEYS[10])
for i = 1, #debts do call('HDEL', KEYS[1], debts[i]) end
if ARGV[6] ~= '' then
  local pending = not finished(ARGV[10])
  for i = 11, 10 + nc do
    if not pending then call('UNLINK', KEYS[i])
    elseif ARGV[8] ~= '' then call('SET', KEYS[i], ARGV[8])
    else call('PERSIST', KEYS[i]) end
  end
  local size = #ARGV[9] + #ARGV[10] + 512 + index_bytes(ARGV[14])
  call('HSET', KEYS[7], 'r', ARGV[9], 'd0', ARGV[10], 'left', pending and 1 or 0, 'hs', size,
       'ix', ARGV[14])
  index_put(KEYS[9], ARGV[14], message_id(ARGV[9]))
  if pending then
    call('HINCRBY', KEYS[3], 'live', 1)
    if ARGV[12] ~= '' then schedule({due = KEYS[6], lanes = KEYS[10], stat = KEYS[3]}, KEYS[8], ARGV[13], ARGV[11], ARGV[12]) end
  else
    call('ZADD', KEYS[4], ARGV[3], ARGV[6])
    call('HINCRBY', KEYS[3], 'hbytes', size)
  end
  if call('EXISTS', KEYS[2]) == 1 then
    for i = 15, #ARGV do call('HSET', KEYS[2], ARGV[i], ARGV[6]) end
  end
end
if call('EXISTS', KEYS[2]) == 1 then
  add_left(KEYS[2], -#debts, KEYS[3], KEYS[4], ARGV[3], ARGV[2], 11 + nc, #KEYS - 10 - nc)
end
tell_owner(call('HGET', KEYS[5], 'o'), KEYS[3], ARGV[4], ARGV[5])
return {'OK', history(KEYS[3])}
