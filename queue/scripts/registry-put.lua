#!lua
-- Sets, changes or removes an entry, if it is what the caller believes.
-- KEYS 1 generation 2 entries
-- ARGV 1 name 2 old value ('': none) 3 new value ('': remove) 4 entries at most
if (call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[2] then return {'CHANGED'} end
if ARGV[2] == '' and call('HLEN', KEYS[2]) >= tonumber(ARGV[4]) then return {'FULL'} end
if ARGV[3] == '' then call('HDEL', KEYS[2], ARGV[1]) else call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
return {'OK', call('INCR', KEYS[1])}
