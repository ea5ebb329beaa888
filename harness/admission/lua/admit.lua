-- Leave for one request: the lease, the wish to stop, money, a slot, and the reservation, in one step.
-- ARGV: prefix, token, holder, call_id, model, worst, entry, caps of call, cell, model, run, then start, ceiling, fixed,
-- groups of the limit, the name of the weights and the patience with a silent server in ms. Returns {'ok'} | {'wait'} | {'money', scope} | {'over', scope, cap, spent} |
-- {'lost'} | {'stop'} | {'unserved', kind, text}. Asking again with the same call_id is safe.
local token, holder, call_id, model, worst, entry = unpack(ARGV, 2, 7)
local caps = {call = ARGV[8], cell = ARGV[9], model = ARGV[10], run = ARGV[11]}
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

local function spent_of(scope)
  local key = scope == 'cell' and CELL or LEDGER
  local name = scope == 'model' and 'model:' .. model or scope
  local f = redis.call('HMGET', key, name .. '|settled', name .. '|estimated', name .. '|reserved')
  return number(f[1]) + number(f[2]), number(f[3]), name
end

local wanted = number(worst)
if wanted > 0 then
  if caps.call ~= '' and wanted > number(caps.call) then
    give_back()
    return {'over', 'call', caps.call, '0'}
  end
  for _, scope in ipairs({'cell', 'model', 'run'}) do
    local cap = caps[scope]
    if cap ~= '' then
      local spent, reserved, name = spent_of(scope)
      if spent + wanted > number(cap) then
        give_back()
        if scope ~= 'cell' then redis.call('HSET', LEDGER, 'met|' .. name, cap) end
        return {'over', scope, cap, whole(spent)}
      elseif spent + reserved + wanted > number(cap) then
        give_back()
        return {'money', scope, cap, whole(spent)}
      end
    end
  end
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
