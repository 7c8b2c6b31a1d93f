-- Take one of the slots of a model's server, unless all are taken or nobody may call it for now.
--
-- A slot is a lease: whoever dies with one gives it back when it ends. Redis's own clock decides.
--
-- KEYS  a sorted set of the slots taken (who -> when the lease ends, ms), the pause's marker
-- ARGV  who, how many slots there are, length of a lease in ms
-- Answer: 0 when it was taken, else milliseconds: until the pause ends, or -1 when all are taken
local pause = redis.call('PTTL', KEYS[2])
if pause > 0 then
  return pause
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return -1
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0
