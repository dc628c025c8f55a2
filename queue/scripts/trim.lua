#!lua flags=allow-oom
-- Forgets finished messages.
-- KEYS 1 hist 2 stat, then messages
-- ARGV the ids of the messages, in order
for i = 1, #ARGV do
  local left = call('HGET', KEYS[2 + i], 'left')
  if (not left or tonumber(left) <= 0) and call('ZREM', KEYS[1], ARGV[i]) == 1 then
    call('HINCRBY', KEYS[2], 'hbytes', -(call('HGET', KEYS[2 + i], 'hs') or 0))
    call('UNLINK', KEYS[2 + i])
  end
end
return history(KEYS[2])
