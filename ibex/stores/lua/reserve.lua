-- Reserve in every window, or in none when one of them is full.
--
-- The running second and ARGV[1] seconds before it count. Redis's own clock decides, so the
-- replicas of the proxy agree whatever theirs say; when it goes back, a window waits for it.
--
-- A window is a hash. Its fields: a second -> what was used in it; sum -> of all of them; first ->
-- no second before it is held; last -> the newest one held.
--
-- KEYS  one window a limit, all of one organization
-- ARGV  length of the windows in seconds, then limit and amount of each key
-- Answer: the second, then for each key: used, 1 or 0 for fits, wait and reset in milliseconds
local time = redis.call('TIME')
local second = tonumber(time[1])
local now = second * 1000 + math.floor(tonumber(time[2]) / 1000)
local length = tonumber(ARGV[1])

local function free_at(bucket)
  return (bucket + length + 1) * 1000
end

-- Forget what no longer counts: the sum of the rest, and the first second that may hold something.
local function advance(key, sum, first, last)
  local horizon = second - length
  if first >= horizon then
    return sum, first
  end
  if last < horizon then
    redis.call('DEL', key)
    return 0, second
  end
  local past = {}
  for bucket = first, horizon - 1 do
    past[#past + 1] = bucket
  end
  for _, count in ipairs(redis.call('HMGET', key, unpack(past))) do
    sum = sum - (tonumber(count) or 0)
  end
  redis.call('HDEL', key, unpack(past))
  redis.call('HSET', key, 'sum', sum, 'first', horizon)
  return sum, horizon
end

-- Milliseconds until so much is free.
local function wait_for(key, missing)
  local flat, buckets, counts = redis.call('HGETALL', key), {}, {}
  for place = 1, #flat, 2 do
    local bucket = tonumber(flat[place])
    if bucket then
      buckets[#buckets + 1] = bucket
      counts[bucket] = tonumber(flat[place + 1])
    end
  end
  table.sort(buckets)
  local wait = 0
  for _, bucket in ipairs(buckets) do
    if missing <= 0 then
      break
    end
    missing = missing - counts[bucket]
    wait = free_at(bucket) - now
  end
  return wait
end

local answer, firsts, lasts, all_fit = {second}, {}, {}, true
for number, key in ipairs(KEYS) do
  local limit, amount = tonumber(ARGV[2 * number]), tonumber(ARGV[2 * number + 1])
  local held = redis.call('HMGET', key, 'sum', 'first', 'last')
  local used, wait, reset = 0, 0, 0
  firsts[number], lasts[number] = second, second
  if held[1] then
    local last = tonumber(held[3])
    lasts[number] = last
    used, firsts[number] = advance(key, tonumber(held[1]), tonumber(held[2]), last)
    if last >= second - length then
      reset = free_at(last) - now
    end
  end
  local fits = used + amount <= limit
  if not fits then
    all_fit = false
    wait = wait_for(key, used + amount - limit)
  end
  local place = 4 * number - 2
  answer[place], answer[place + 1] = used, fits and 1 or 0
  answer[place + 2], answer[place + 3] = wait, reset
end

if all_fit then
  for number, key in ipairs(KEYS) do
    local amount, first = tonumber(ARGV[2 * number + 1]), firsts[number]
    local place, bucket = 4 * number - 2, math.max(second, first)
    local used = answer[place] + amount
    redis.call('HINCRBY', key, bucket, amount)
    local last = math.max(bucket, lasts[number])
    redis.call('HSET', key, 'sum', used, 'first', first, 'last', last)
    redis.call('EXPIRE', key, length + 2)
    answer[place] = used
    answer[place + 3] = math.max(answer[place + 3], free_at(last) - now)
  end
end
return answer
