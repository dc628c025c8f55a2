#!lua flags=allow-oom
-- Reads the dataset's identity; makes it when the database is empty and the
-- caller knows of none.
-- KEYS 1 dataset
-- ARGV 1 new identity ('': only look) 2 schema 3 partitions
local d = call('HMGET', KEYS[1], 'uuid', 'schema', 'partitions')
if d[1] then return {d[1], d[2] or '', d[3] or ''} end
if ARGV[1] == '' then return {'GONE'} end
if call('DBSIZE') > 0 then return {'FOREIGN'} end
call('HSET', KEYS[1], 'uuid', ARGV[1], 'schema', ARGV[2], 'partitions', ARGV[3])
return {ARGV[1], ARGV[2], ARGV[3]}
