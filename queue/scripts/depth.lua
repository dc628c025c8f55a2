#!lua flags=no-writes,allow-oom
-- KEYS 1 stat 2 inflight 3 ndr
local s = call('HMGET', KEYS[1], 'live', 'sched', 'held')
return {tonumber(s[1] or 0), tonumber(s[2] or 0),
        call('HLEN', KEYS[2]) - call('HEXISTS', KEYS[2], ''),
        call('HLEN', KEYS[3]) - call('HEXISTS', KEYS[3], ''),
        tonumber(s[3] or 0)}
