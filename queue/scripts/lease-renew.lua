#!lua flags=allow-oom
-- Renews a lease, and answers how often others changed its schedule.
-- KEYS 1 lease 2 stat
-- ARGV 1 owner 2 epoch
local l = call('HMGET', KEYS[1], 'o', 'e')
if l[1] ~= ARGV[1] or l[2] ~= ARGV[2] then return {'LOST'} end
call('HINCRBY', KEYS[1], 'c', 1)
return {'OK', tonumber(call('HGET', KEYS[2], 'f') or 0)}
