#!lua flags=allow-oom
-- Gives a lease back. The epoch stays, so that it only ever grows.
-- KEYS 1 lease
-- ARGV 1 owner 2 epoch
local l = call('HMGET', KEYS[1], 'o', 'e')
if l[1] ~= ARGV[1] or l[2] ~= ARGV[2] then return 'LOST' end
call('HSET', KEYS[1], 'o', '')
return 'OK'
