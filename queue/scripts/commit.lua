#!lua
-- Publishes a message: all of its deliveries or none. Refused by Redis itself
-- when memory is short (no flags).
-- KEYS 1 tombstone 2 message 3 stat 4 due 5 lease 6 hist 7 idempotency (or the
--      tombstone once more) 8 index 9 lanes then nq queues, then nc chunks
-- ARGV 1 dataset 2 id 3 owner 4 partition 5 now 6 left 7 nq 8 nc 9 digest
--      ('' without a key) 10 ttl ms 11 message record 12 properties
--      13 deliveries, then that many records, then per queue: member, due, lane
local nq, nc, nd = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[13])
local left = tonumber(ARGV[6])
local dataset = call('HGET', KEYS[3], 'u')
if dataset and dataset ~= ARGV[1] then return {'OTHER'} end
if call('EXISTS', KEYS[1], KEYS[2]) > 0 then
  return {call('EXISTS', KEYS[1]) == 1 and 'CANCELLED' or 'OK'}
end
if ARGV[9] ~= '' then
  local old = call('GET', KEYS[7])
  if old and string.sub(old, 37) == ARGV[9] then return {'REPLAYED', string.sub(old, 1, 36)} end
  if old then return {'CONFLICT'} end
end
if nc > 0 and call('EXISTS', unpack(KEYS, 10 + nq, 9 + nq + nc)) < nc then return {'CHUNK'} end
-- A wrong type must show before the first write.
for i = 8, 9 + nq do call('ZCARD', KEYS[i]) end
call('ZCARD', KEYS[4])
if left == 0 then call('ZCARD', KEYS[6]) end
local owner = call('HGET', KEYS[5], 'o')
for i = 10 + nq, 9 + nq + nc do
  if left > 0 then call('PERSIST', KEYS[i]) else call('UNLINK', KEYS[i]) end
end
local size = #ARGV[11] + 512 + index_bytes(ARGV[12])
local message = {'r', ARGV[11], 'left', ARGV[6], 'ix', ARGV[12]}
for i = 1, nd do
  message[5 + 2 * i], message[6 + 2 * i] = string.format('d%d', i - 1), ARGV[13 + i]
  size = size + #ARGV[13 + i]
end
call('HSET', KEYS[2], 'hs', size, unpack(message))
index_put(KEYS[8], ARGV[12], message_id(ARGV[11]))
if not dataset then call('HSET', KEYS[3], 'u', ARGV[1]) end
local S = {due = KEYS[4], lanes = KEYS[9], stat = KEYS[3]}
for i = 1, nq do
  local a = 13 + nd + 3 * (i - 1)
  schedule(S, KEYS[9 + i], ARGV[a + 3], ARGV[a + 1], ARGV[a + 2])
end
if ARGV[9] ~= '' then call('SET', KEYS[7], ARGV[2] .. ARGV[9], 'PX', ARGV[10]) end
if left > 0 then
  call('HINCRBY', KEYS[3], 'live', '1')
else
  call('ZADD', KEYS[6], ARGV[5], ARGV[2])
  call('HINCRBY', KEYS[3], 'hbytes', size)
end
if nq > 0 then tell_owner(owner, KEYS[3], ARGV[3], ARGV[4]) end
return {'OK'}
