#!lua
-- Puts an address on the suppression list. Refused by Redis itself when memory
-- is short (no flags).
-- KEYS 1 suppressions 2 their index
-- ARGV 1 field 2 value 3 member of the index
call('ZCARD', KEYS[2])
local old = call('HGET', KEYS[1], ARGV[1])
call('HSET', KEYS[1], ARGV[1], ARGV[2])
call('ZADD', KEYS[2], 0, ARGV[3])
return old
