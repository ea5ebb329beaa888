-- The slots of one server: who has one, who waits, what the answers teach about the limit.
local LINGER_MS = 250
local STARVING_MS = 120000
local GROWTH_PAUSE_MS = 10000
local REAP_MS = 1000
local SHRINK = 0.7

local function note(event, window)
  redis.call('RPUSH', HISTORY, whole(NOW) .. '|' .. event .. '|' .. string.format('%.2f', window))
  redis.call('LTRIM', HISTORY, -2000, -1)
end

-- Seconds of slots had and used while somebody waited: how busy the server was kept.
local function meter()
  local f = redis.call('HMGET', LIMIT, 'metered_at', 'window')
  local passed = NOW - number(f[1])
  redis.call('HSET', LIMIT, 'metered_at', whole(NOW))
  if f[1] and passed > 0 and redis.call('ZCARD', WAITERS) > 0 then
    local window = math.floor(number(f[2]))
    redis.call('HINCRBY', LIMIT, 'had_ms', whole(passed * window))
    redis.call('HINCRBY', LIMIT, 'used_ms', whole(passed * math.min(window, redis.call('HLEN', SLOTS))))
  end
end

-- Set the limit up, or take over what servers.yaml says now. Runs that share the server may say different things: whoever
-- changed its word last is followed, so that they do not undo each other at every call.
local function declare(start, ceiling, fixed, groups)
  local said = table.concat({start, ceiling, fixed, groups}, '|')
  local is_known = redis.call('EXISTS', LIMIT) == 1
  if is_known and redis.call('HGET', SERVERS, LIMIT) == said then return end
  redis.call('HSET', SERVERS, LIMIT, said)
  local f = redis.call('HMGET', LIMIT, 'ceiling', 'fixed', 'groups')
  if f[1] == ceiling and f[2] == fixed and f[3] == groups then return end
  redis.call('HSET', LIMIT, 'window', start, 'ceiling', ceiling, 'threshold', ceiling, 'fixed', fixed, 'groups', groups)
  note('declared', number(start))
end

local function capacity()
  local f = redis.call('HMGET', LIMIT, 'window', 'not_before')
  if number(f[2]) > NOW then return 0 end
  return math.floor(number(f[1]))
end

local function parse_waiter(waiter) return string.match(waiter, '^([^|]*)|([^|]*)|(.*)$') end

-- First come, first served; on a server that loads one model at a time the loaded model's requests go first, so that
-- models do not take turns. Nobody waits for ever: who starves gets its model loaded next.
local function next_waiter()
  local first = redis.call('ZRANGE', WAITERS, 0, 0, 'WITHSCORES')
  if not first[1] then return nil end
  local f = redis.call('HMGET', LIMIT, 'groups', 'model', 'freed_at')
  if f[1] ~= '1' then return first[1] end
  local _, _, model = parse_waiter(first[1])
  if model == f[2] then return first[1] end
  local starving = NOW - tonumber(first[2]) > STARVING_MS
  if f[2] and not starving then
    for _, waiter in ipairs(redis.call('ZRANGE', WAITERS, 0, -1)) do
      local _, _, wanted = parse_waiter(waiter)
      if wanted == f[2] then return waiter end
    end
  end
  if redis.call('HLEN', SLOTS) > 0 then return nil end
  if f[2] and not starving and NOW - number(f[3]) < LINGER_MS then return nil end
  redis.call('HSET', LIMIT, 'model', model)
  redis.call('HINCRBY', LIMIT, 'loads', 1)
  return first[1]
end

-- Give free slots to those who wait; true when `own` is among them. The others are woken through their process's list.
local function grant(own)
  local got = false
  local room = capacity() - redis.call('HLEN', SLOTS)
  while room > 0 do
    local waiter = next_waiter()
    if not waiter then break end
    local call_id, holder = parse_waiter(waiter)
    redis.call('ZREM', WAITERS, waiter)
    redis.call('HSET', SLOTS, call_id, holder .. '|' .. whole(NOW))
    if call_id == own then
      got = true
    else
      redis.call('RPUSH', PREFIX .. 'wake:' .. holder, call_id)
      redis.call('PEXPIRE', PREFIX .. 'wake:' .. holder, 60000)
    end
    room = room - 1
  end
  return got
end

-- Take back what dead processes hold.
local function reap()
  if NOW - number(redis.call('HGET', LIMIT, 'reaped_at')) < REAP_MS then return end
  redis.call('HSET', LIMIT, 'reaped_at', whole(NOW))
  local held = redis.call('HGETALL', SLOTS)
  for i = 1, #held, 2 do
    if is_dead(string.match(held[i + 1], '^([^|]*)')) then redis.call('HDEL', SLOTS, held[i]) end
  end
  for _, waiter in ipairs(redis.call('ZRANGE', WAITERS, 0, -1)) do
    local _, holder = parse_waiter(waiter)
    if is_dead(holder) then redis.call('ZREM', WAITERS, waiter) end
  end
end

-- What an answer teaches. Only a 429 shrinks the window, and only one that was sent after the last shrinking.
local function learn(lesson, granted_at, retry_after_ms)
  local f = redis.call('HMGET', LIMIT, 'window', 'ceiling', 'threshold', 'grow_after', 'shrunk_at', 'fixed', 'not_before')
  if retry_after_ms > 0 and NOW + retry_after_ms > number(f[7]) then
    redis.call('HSET', LIMIT, 'not_before', whole(NOW + retry_after_ms))
    note('retry_after', number(f[1]))
  end
  if f[6] == '1' or not f[1] then return end
  local window, ceiling, threshold = number(f[1]), number(f[2]), number(f[3])
  if lesson == 'grow' and NOW >= number(f[4]) and window < ceiling and redis.call('HLEN', SLOTS) + 1 >= window / 2 then
    local grown = math.min(ceiling, window + (window < threshold and 1 or 1 / window))
    redis.call('HSET', LIMIT, 'window', grown)
    if math.floor(grown) > math.floor(window) then note('grown', grown) end
  elseif lesson == 'shrink' and granted_at > number(f[5]) then
    local shrunk = math.max(1, math.floor(window * SHRINK))
    redis.call('HSET', LIMIT, 'window', shrunk, 'threshold', shrunk, 'shrunk_at', whole(NOW))
    note('shrunk', shrunk)
  elseif lesson == 'pause' then
    if NOW >= number(f[4]) then note('paused', window) end
    redis.call('HSET', LIMIT, 'grow_after', whole(NOW + GROWTH_PAUSE_MS))
  end
end

-- Whether the server serves at all: no completed answer for too long, keys or account refused again and again, or a model that
-- is gone. Fields of LIMIT: silent_since, trouble (the last cause), refused (in a row), missing:MODEL, answered_at, closed.
local MOST_REFUSED = 5
local IN_FLIGHT_MS = 60000

local SILENT = {connection = true, cut_stream = true, timeout = true, server_error = true, capacity = true, rate_limited = true}

-- How a request ended; cause is '' for an answer. Time within a long request is no silence: it was inside its timeout.
local function observe(cause, text, weights, granted_at)
  if cause == '' then
    redis.call('HSET', LIMIT, 'answered_at', whole(NOW))
    redis.call('HDEL', LIMIT, 'silent_since', 'trouble', 'refused')
    return
  end
  if cause == 'not_found' then redis.call('HSET', LIMIT, 'missing:' .. weights, text) end
  if cause == 'auth' or cause == 'quota' then
    redis.call('HINCRBY', LIMIT, 'refused', 1)
  else
    redis.call('HDEL', LIMIT, 'refused')
  end
  redis.call('HSET', LIMIT, 'trouble', text)
  if SILENT[cause] then
    if granted_at > 0 and NOW - granted_at > IN_FLIGHT_MS then redis.call('HDEL', LIMIT, 'silent_since') end
    redis.call('HSETNX', LIMIT, 'silent_since', whole(NOW))
  end
end

local function has_long_request()
  for _, slot in ipairs(redis.call('HVALS', SLOTS)) do
    if NOW - number(string.match(slot, '|(%d+)$')) > IN_FLIGHT_MS then return true end
  end
  return false
end

-- Why a request must not be sent, as kind and text; nil if it may be.
local function unserved(weights, patience_ms)
  local f = redis.call('HMGET', LIMIT, 'closed', 'missing:' .. weights, 'silent_since', 'refused', 'trouble')
  if f[2] then return 'model', f[2] end
  if not f[1] then
    local kind
    if number(f[4]) >= MOST_REFUSED then kind = 'refused' end
    if f[3] and NOW - number(f[3]) > patience_ms and not has_long_request() then kind = 'silent' end
    if not kind then return nil end
    f[1] = kind .. '|' .. (f[5] or '')
    redis.call('HSET', LIMIT, 'closed', f[1])
  end
  return string.match(f[1], '^(%a+)|(.*)$')
end
