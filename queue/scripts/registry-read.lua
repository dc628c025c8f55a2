#!lua flags=no-writes,allow-oom
-- KEYS 1 generation 2 entries
-- ARGV 1 generation that the caller has
local now = call('GET', KEYS[1]) or '0'
if now == ARGV[1] then return {tonumber(now)} end
return {tonumber(now), call('HGETALL', KEYS[2])}
