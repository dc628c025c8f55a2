#!lua flags=allow-oom
-- Forgets finished messages.
-- KEYS 1 hist 2 stat 3 index, then messages
-- ARGV the ids of the messages, in order
for i = 1, #ARGV do
  local m = KEYS[3 + i]
  local left = call('HGET', m, 'left')
  if (not left or tonumber(left) <= 0) and call('ZREM', KEYS[1], ARGV[i]) == 1 then
    call('HINCRBY', KEYS[2], 'hbytes', -(call('HGET', m, 'hs') or 0))
    local record = call('HGET', m, 'r')
    if record then index_drop(KEYS[3], call('HGET', m, 'ix') or '', message_id(record)) end
    call('UNLINK', m)
  end
end
return history(KEYS[2])
