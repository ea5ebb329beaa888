-- Names, time, life and money that every script shares. ARGV[1] is the prefix of what all runs of a broker share.
local CELL, JOURNAL, LEDGER, LIMIT, SLOTS, WAITERS, HISTORY, CONTROL, SUSPECTS, SERVERS, MONTH = unpack(KEYS)
local PREFIX = ARGV[1]
local CLOCK = redis.call('TIME')
local NOW = CLOCK[1] * 1000 + math.floor(CLOCK[2] / 1000)
local SUSPECTED_MS = 1200

local function number(value) return tonumber(value or '0') or 0 end
local function whole(value) return string.format('%.0f', value) end

-- A process is dead when its sign of life is gone at two looks some time apart: after an outage of Redis all signs are gone.
local function is_dead(holder)
  if redis.call('EXISTS', PREFIX .. 'alive:' .. holder) == 1 then return false end
  local since = redis.call('HGET', SUSPECTS, holder)
  if not since then
    redis.call('HSET', SUSPECTS, holder, whole(NOW))
    return false
  end
  return NOW - tonumber(since) >= SUSPECTED_MS
end

-- Move money of one kind (settled, estimated, reserved) of the run, the model, the cell and, if the run counts to one, the month.
local function move(kind, model, amount)
  if amount == '0' or amount == '-0' then return end
  redis.call('HINCRBY', LEDGER, 'run|' .. kind, amount)
  redis.call('HINCRBY', LEDGER, 'model:' .. model .. '|' .. kind, amount)
  redis.call('HINCRBY', CELL, 'cell|' .. kind, amount)
  if MONTH ~= '' then redis.call('HINCRBY', MONTH, 'run|' .. kind, amount) end
end

-- A request in flight is kept as worst|model|entry under 'h:' .. call_id of the cell, a killed one as K .. the same in the journal.
local function parse_hold(hold) return string.match(hold, '^(%d+)|([^|]*)|(.*)$') end

-- Whether this much more fits all caps: nil, or {'over' | 'money', scope, cap, spent}.
local function refuse_money(model, wanted, caps)
  if wanted <= 0 then return nil end
  if caps.call ~= '' and wanted > number(caps.call) then return {'over', 'call', caps.call, '0'} end
  for _, scope in ipairs({'cell', 'model', 'run', 'month'}) do
    local cap = caps[scope]
    if cap ~= '' and (scope ~= 'month' or MONTH ~= '') then
      local key = scope == 'cell' and CELL or scope == 'month' and MONTH or LEDGER
      local name = scope == 'model' and 'model:' .. model or scope == 'month' and 'run' or scope
      local f = redis.call('HMGET', key, name .. '|settled', name .. '|estimated', name .. '|reserved')
      local spent = number(f[1]) + number(f[2])
      if spent + wanted > number(cap) then
        if scope == 'run' or scope == 'model' then redis.call('HSET', LEDGER, 'met|' .. name, cap) end
        return {'over', scope, cap, whole(spent)}
      elseif spent + number(f[3]) + wanted > number(cap) then
        return {'money', scope, cap, whole(spent)}
      end
    end
  end
  return nil
end

-- Requests in flight of a holder that is gone: they may have been billed, so their worst case becomes an estimate.
-- `mark`: h for requests in flight, d for deferred ones.
local function bill_killed(mark)
  local fields = redis.call('HGETALL', CELL)
  for i = 1, #fields, 2 do
    local call_id = string.match(fields[i], '^' .. mark .. ':(.*)$')
    if call_id then
      local worst, model = parse_hold(fields[i + 1])
      move('reserved', model, '-' .. worst)
      move('estimated', model, worst)
      redis.call('HSET', JOURNAL, call_id, 'K' .. fields[i + 1])
      redis.call('HDEL', CELL, fields[i])
    end
  end
end
