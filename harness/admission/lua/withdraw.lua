-- Stop waiting for a slot, or give back one that will not be used. ARGV: prefix, call_id, holder, name of the weights.
local call_id = ARGV[2]
meter()
redis.call('ZREM', WAITERS, call_id .. '|' .. ARGV[3] .. '|' .. ARGV[4])
local held = redis.call('HGET', CELL, 'h:' .. call_id)
if held then
  local worst, model = parse_hold(held)
  move('reserved', model, '-' .. worst)
  redis.call('HDEL', CELL, 'h:' .. call_id)
end
if redis.call('HDEL', SLOTS, call_id) == 1 then grant(nil) end
return 'ok'
