-- What a request became: journal, settled money, a free slot and the limit's lesson, in one step.
-- ARGV: prefix, token, call_id, entry, model, cost, kind (settled | estimated), lesson, retry_after_ms, input and output tokens,
-- cause of a failure ('' for an answer, '-' if it was cut off here), its text, the name of the weights,
-- name of the pace (arm and role; '' for none) and duration in ms; the last five are left out for an answer that came later.
-- Returns {'ok' or 'lost', when the server last answered in ms}; 'lost' when another holder has the cell: what was paid is kept
-- all the same. Reporting it again is safe.
local token, call_id, entry, model, cost, kind, lesson, retry_after_ms = unpack(ARGV, 2, 9)
local fresh = true
local field = redis.call('HEXISTS', CELL, 'd:' .. call_id) == 1 and 'd:' .. call_id or 'h:' .. call_id
local held = redis.call('HGET', CELL, field)
if held then
  local worst, held_model = parse_hold(held)
  move('reserved', held_model, '-' .. worst)
  redis.call('HDEL', CELL, field)
  redis.call('HSET', JOURNAL, call_id, entry)
  -- Another attempt may have begun while this request was out; it asks before it ends whether something came late.
  if redis.call('HGET', CELL, 'token') ~= token then redis.call('HINCRBY', CELL, 'late', 1) end
else
  local known = redis.call('HGET', JOURNAL, call_id)
  if known and string.sub(known, 1, 1) == 'K' then
    local worst, held_model = parse_hold(string.sub(known, 2))
    move('estimated', held_model, '-' .. worst)
    redis.call('HSET', JOURNAL, call_id, entry)
    redis.call('HINCRBY', CELL, 'late', 1)
  else
    fresh = false
  end
end
if fresh then
  move(kind, model, cost)
  redis.call('HINCRBY', LEDGER, 'run|calls', 1)
  if (ARGV[15] or '') ~= '' then
    redis.call('HINCRBY', LEDGER, ARGV[15] .. '|calls', 1)
    redis.call('HINCRBY', LEDGER, ARGV[15] .. '|ms', ARGV[16])
  end
  if ARGV[10] ~= '' then redis.call('HINCRBY', LEDGER, 'run|input_tokens', ARGV[10]) end
  if ARGV[11] ~= '' then redis.call('HINCRBY', LEDGER, 'run|output_tokens', ARGV[11]) end
end

meter()
local slot = redis.call('HGET', SLOTS, call_id)
local granted_at = slot and number(string.match(slot, '|(%d+)$')) or 0
if slot then
  redis.call('HDEL', SLOTS, call_id)
  redis.call('HSET', LIMIT, 'freed_at', whole(NOW))
  learn(lesson, granted_at, number(retry_after_ms))
end
if fresh and (ARGV[12] or '-') ~= '-' then observe(ARGV[12], ARGV[13], ARGV[14], granted_at) end
grant(nil)
local answered_at = redis.call('HGET', LIMIT, 'answered_at') or '0'
return {redis.call('HGET', CELL, 'token') == token and 'ok' or 'lost', answered_at}
