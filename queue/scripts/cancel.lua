#!lua flags=allow-oom
-- Ends a commit whose outcome is unknown. Writes in either case, so that the
-- answer implies an fsync; after ABSENT the commit is refused if it still comes.
-- KEYS 1 tombstone 2 message 3 stat
-- ARGV 1 dataset 2 seconds that the tombstone stays
local dataset = call('HGET', KEYS[3], 'u')
if dataset and dataset ~= ARGV[1] then return {'OTHER'} end
if call('EXISTS', KEYS[2]) == 1 then
  call('HINCRBY', KEYS[3], 'reread', 1)
  return {'PRESENT'}
end
call('SET', KEYS[1], '', 'EX', ARGV[2])
return {'ABSENT'}
