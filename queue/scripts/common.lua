-- Helpers in front of every script. Records: byte 1 version; a delivery has its
-- revision in bytes 2 to 9 and "finished" in byte 10; an attempt has its id in
-- bytes 2 to 17, a message in bytes 4 to 19. S names the collections of the
-- partition that a script has: due, lanes, held, stat. Fixed numbers are written as
-- strings: Redis prints each number that Lua hands it, slowly.
local call = redis.call
local function revision(rec) return string.sub(rec, 2, 9) end
local function finished(rec) return string.byte(rec, 10) == 1 end
local function attempt_id(rec) return string.sub(rec, 2, 17) end
-- Notes a queue's earliest due time and its length; an empty one is in neither.
local function note_queue(S, queue, lane)
  local n = call('ZCARD', queue)
  if n > 0 then
    call('ZADD', S.due, call('ZRANGE', queue, '0', '0', 'WITHSCORES')[2], lane)
    call('ZADD', S.lanes, n, lane)
  else
    call('ZREM', S.due, lane)
    call('ZREM', S.lanes, lane)
  end
end
local function schedule(S, queue, lane, member, at)
  if call('ZADD', queue, at, member) == 1 then call('HINCRBY', S.stat, 'sched', '1') end
  note_queue(S, queue, lane)
end
local function unschedule(S, queue, lane, member)
  if call('ZREM', queue, member) == 0 then return end
  call('HINCRBY', S.stat, 'sched', '-1')
  note_queue(S, queue, lane)
end
-- Notes whether some target of a delivery is held, by lane.
local function note_held(S, queue, lane, member, now, held)
  if held then
    if call('ZADD', queue, 'NX', now, member) == 0 then return end
    call('HINCRBY', S.stat, 'held', '1')
  else
    if call('ZREM', queue, member) == 0 then return end
    call('HINCRBY', S.stat, 'held', '-1')
  end
  local n = call('ZCARD', queue)
  if n > 0 then call('ZADD', S.held, n, lane) else call('ZREM', S.held, lane) end
end
-- A message's hash grows: the history's account must know when it is in there.
local function grow(message, S, bytes)
  call('HINCRBY', message, 'hs', bytes)
  if tonumber(call('HGET', message, 'left') or 0) <= 0 then
    call('HINCRBY', S.stat, 'hbytes', bytes)
  end
end
-- The trace: records, each behind its length in four bytes. The first two stay,
-- behind them the oldest go when there is no room; 'td' counts them.
local TRACE_MAX, TRACE_FIRST = 32768, 2
local function trace_next(t, at)
  if at + 3 > #t then return #t + 1 end
  return math.min(at + 4 + struct.unpack('>I4', t, at), #t + 1)
end
local function longer_trace(old, event)
  local t = old .. struct.pack('>I4', #event) .. event
  local from = 1
  for _ = 1, TRACE_FIRST do from = trace_next(old, from) end
  local to, dropped = from, 0
  while #t - (to - from) > TRACE_MAX and to <= #old do
    to, dropped = trace_next(old, to), dropped + 1
  end
  if dropped > 0 then t = string.sub(t, 1, from - 1) .. string.sub(t, to) end
  return t, dropped
end
local function add_trace(message, S, event)
  if event == '' then return end
  local old = call('HGET', message, 'tr') or ''
  local t, dropped = longer_trace(old, event)
  if dropped > 0 then call('HINCRBY', message, 'td', dropped) end
  call('HSET', message, 'tr', t)
  grow(message, S, #t - #old)
end
-- Tells the lease's owner that somebody else changed its schedule.
local function tell_owner(owner, stat, me, partition)
  if owner ~= me then
    call('HINCRBY', stat, 'f', '1')
    redis.pcall('PUBLISH', 'sp:hint', partition) -- a hint: it may fail
  end
end
-- Adds to what is unfinished of a message; at zero it moves to the history and
-- its body goes. chunk1: index in KEYS of its first chunk, up to the last key.
local function add_left(message, delta, stat, hist, now, id, chunk1, chunks)
  if delta == 0 then return end
  if call('HINCRBY', message, 'left', delta) > 0 then return end
  for i = chunk1, chunk1 + chunks - 1 do call('UNLINK', KEYS[i]) end
  call('ZADD', hist, now, id)
  call('HINCRBY', stat, 'live', '-1')
  call('HINCRBY', stat, 'hbytes', call('HGET', message, 'hs') or 0)
end
-- The index: a member for each property of a message, which is 9 bytes; then the
-- 16 bytes of its id. In steps, because a call takes a bounded number of values.
local INDEX_ENTRY = 128 -- bytes that a member costs Redis, about
local function index_each(properties, id, step, run)
  for i = 1, #properties, 9 * step do
    local members = {}
    for j = i, math.min(i + 9 * step, #properties) - 1, 9 do
      members[#members + 1] = string.sub(properties, j, j + 8) .. id
    end
    run(members)
  end
end
local function index_put(idx, properties, id)
  index_each(properties, id, 1000, function(members)
    local args = {}
    for i = 1, #members do args[2 * i - 1], args[2 * i] = '0', members[i] end
    call('ZADD', idx, unpack(args))
  end)
end
local function index_drop(idx, properties, id)
  index_each(properties, id, 1000, function(members) call('ZREM', idx, unpack(members)) end)
end
-- What a message costs, for the history's account.
local function index_bytes(properties) return #properties + #properties / 9 * INDEX_ENTRY end
local function message_id(record) return string.sub(record, 4, 19) end
local function history(stat) return tonumber(call('HGET', stat, 'hbytes') or 0) end
