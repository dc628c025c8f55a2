#!lua flags=no-writes,allow-oom
-- The lanes of a partition with the most deliveries, and what is in flight.
-- KEYS 1 lanes 2 held 3 inflight
-- ARGV 1 lanes at most
local function top(key)
  local t = call('ZREVRANGE', key, 0, ARGV[1] - 1, 'WITHSCORES')
  return {call('ZCARD', key), t}
end
local counts, order, flat = {}, {}, {}
if call('HLEN', KEYS[3]) <= 10 * ARGV[1] then
  for _, attempt in ipairs(call('HVALS', KEYS[3])) do
    local lane = string.sub(attempt, 58)
    if attempt ~= '' then
      if not counts[lane] then order[#order + 1] = lane end
      counts[lane] = (counts[lane] or 0) + 1
    end
  end
end
for i, lane in ipairs(order) do flat[2 * i - 1], flat[2 * i] = lane, counts[lane] end
return {top(KEYS[1]), top(KEYS[2]), flat}
