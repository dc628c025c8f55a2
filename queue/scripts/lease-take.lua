#!lua flags=allow-oom
-- Takes a lease that is free, ours already, or exactly as the caller saw it.
-- Also gives the collections that scripts empty and fill their permanent member.
-- KEYS 1 lease 2 due 3 inflight 4 ndr 5 hist 6 stat 7 lanes 8 held
-- ARGV 1 owner 2 dataset 3 seen owner 4 seen epoch 5 seen counter
local dataset = call('HGET', KEYS[6], 'u')
if dataset and dataset ~= ARGV[2] then return {'OTHER'} end
local l = call('HMGET', KEYS[1], 'o', 'e', 'c')
local changes = tonumber(call('HGET', KEYS[6], 'f') or 0)
if l[1] == ARGV[1] then return {'OK', l[2], changes} end
local free = not l[1] or l[1] == ''
if not free and (l[1] ~= ARGV[3] or l[2] ~= ARGV[4] or l[3] ~= ARGV[5]) then return {'HELD'} end
local epoch = tonumber(l[2] or 0) + 1
call('HSET', KEYS[1], 'o', ARGV[1], 'e', epoch, 'c', 0)
call('ZADD', KEYS[2], 'inf', '')
call('HSET', KEYS[3], '', '')
call('HSET', KEYS[4], '', '')
call('ZADD', KEYS[5], 'inf', '')
call('ZADD', KEYS[7], '-inf', '')
call('ZADD', KEYS[8], '-inf', '')
call('HSET', KEYS[6], 'u', ARGV[2])
return {'OK', tostring(epoch), changes}
