-- Correct a reservation once it is known what was used.
--
-- More than was reserved counts from now on; less is given back to the second that was charged, as
-- long as that is held. The windows are those of reserve.lua.
--
-- KEYS  the windows
-- ARGV  their length in seconds, the second of the reservation, then the difference for each key
local time = redis.call('TIME')
local now = tonumber(time[1])
for number, key in ipairs(KEYS) do
  local difference = tonumber(ARGV[number + 2])
  if difference > 0 then
    local held = redis.call('HMGET', key, 'first', 'last')
    local first, last = tonumber(held[1]) or now, tonumber(held[2]) or now
    local bucket = math.max(now, first)
    redis.call('HINCRBY', key, bucket, difference)
    redis.call('HINCRBY', key, 'sum', difference)
    redis.call('HSET', key, 'first', first, 'last', math.max(bucket, last))
    redis.call('EXPIRE', key, tonumber(ARGV[1]) + 2)
  else
    local held = tonumber(redis.call('HGET', key, ARGV[2]) or 0)
    local back = math.min(-difference, held)
    if back > 0 then
      redis.call('HINCRBY', key, ARGV[2], -back)
      redis.call('HINCRBY', key, 'sum', -back)
    end
  end
end
return 1
