#!lua flags=allow-oom
-- Takes an address from the suppression list.
-- KEYS 1 suppressions 2 their index
-- ARGV 1 field 2 member of the index
call('ZREM', KEYS[2], ARGV[2])
local old = call('HGET', KEYS[1], ARGV[1])
call('HDEL', KEYS[1], ARGV[1])
return old
