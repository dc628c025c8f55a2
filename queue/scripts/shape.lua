#!lua flags=no-writes,allow-oom
-- How old the deliveries of some lanes are: for each lane the earliest due time
-- ('' when nothing is scheduled), the oldest creation, whether not all were
-- looked at, deliveries by age, and members to look at more closely, evenly spread:
-- the first ones are those that were never tried. Ages come from the ids, which begin
-- with their time.
-- KEYS per lane: its queue, its held queue
-- ARGV 1 now 2 deliveries looked at per queue 3 members given 4... bounds of the
--      ages in ms, ascending
local now, most, given = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local out = {}
for k = 1, #KEYS, 2 do
  local ages, members, oldest, cut = {}, {}, 0, 0
  for i = 4, #ARGV + 1 do ages[i - 3] = 0 end
  for q = k, k + 1 do
    for i, member in ipairs(call('ZRANGE', KEYS[q], 0, most - 1)) do
      local ms = tonumber(string.sub(member, 1, 8) .. string.sub(member, 10, 13), 16) or now
      local at = 4
      while ARGV[at] and now - ms > tonumber(ARGV[at]) do at = at + 1 end
      ages[at - 3] = ages[at - 3] + 1
      if oldest == 0 or ms < oldest then oldest = ms end
    end
    if call('ZCARD', KEYS[q]) > most then cut = 1 end
  end
  local count = call('ZCARD', KEYS[k])
  for i = 1, math.min(count, given) do
    local rank = count <= given and i - 1 or math.floor((2 * i - 1) * count / (2 * given))
    members[i] = call('ZRANGE', KEYS[k], rank, rank)[1]
  end
  local first = call('ZRANGE', KEYS[k], 0, 0, 'WITHSCORES')
  out[#out + 1] = {first[2] or '', string.format('%.0f', oldest), cut, ages, members}
end
return out
