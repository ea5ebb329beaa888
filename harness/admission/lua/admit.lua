-- Leave for one request: the lease, the wish to stop, money, a slot, and the reservation, in one step.
-- ARGV: prefix, token, holder, call_id, model, worst, entry, caps of call, cell, model, run, then start, ceiling, fixed,
-- groups of the limit, the name of the weights and the patience with a silent server in ms, then the cap
-- of the month. Returns {'ok'} | {'wait'} | {'money', scope} | {'over', scope, cap, spent} |
-- {'lost'} | {'stop'} | {'unserved', kind, text}. Asking again with the same call_id is safe.
local token, holder, call_id, model, worst, entry = unpack(ARGV, 2, 7)
local caps = {call = ARGV[8], cell = ARGV[9], model = ARGV[10], run = ARGV[11], month = ARGV[18] or ''}
local weights = ARGV[16]
local waiter = call_id .. '|' .. holder .. '|' .. weights

local function give_back()
  redis.call('ZREM', WAITERS, waiter)
  if redis.call('HDEL', SLOTS, call_id) == 1 then grant(nil) end
end

if redis.call('HGET', CELL, 'token') ~= token then
  give_back()
  return {'lost'}
end
if redis.call('HEXISTS', CELL, 'h:' .. call_id) == 1 then return {'ok'} end
if redis.call('GET', CONTROL) == 'stop' then
  give_back()
  return {'stop'}
end

local refusal = refuse_money(model, number(worst), caps)
if refusal then
  give_back()
  return refusal
end

local kind, text = unserved(weights, number(ARGV[17]))
if kind then
  give_back()
  return {'unserved', kind, text}
end
declare(ARGV[12], ARGV[13], ARGV[14], ARGV[15])
meter()
if redis.call('HEXISTS', SLOTS, call_id) == 0 then
  redis.call('ZADD', WAITERS, 'NX', whole(NOW), waiter)
  if not grant(call_id) then
    reap()
    if not grant(call_id) then return {'wait'} end
  end
end
move('reserved', model, worst)
redis.call('HSET', CELL, 'h:' .. call_id, worst .. '|' .. model .. '|' .. entry)
return {'ok'}
