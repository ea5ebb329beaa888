-- Make the reservations for deferred calls of a cell exactly these: what was never handed over is released, what Redis has lost
-- is reserved again. ARGV: prefix, token ('' while no worker holds the cell), then call_id, worst and model of each.
if ARGV[2] ~= '' and redis.call('HGET', CELL, 'token') ~= ARGV[2] then return 'lost' end
local wanted = {}
for i = 3, #ARGV, 3 do wanted[ARGV[i]] = {ARGV[i + 1], ARGV[i + 2]} end
local fields = redis.call('HGETALL', CELL)
for i = 1, #fields, 2 do
  local call_id = string.match(fields[i], '^d:(.*)$')
  if call_id and not wanted[call_id] then
    local worst, model = parse_hold(fields[i + 1])
    move('reserved', model, '-' .. worst)
    redis.call('HDEL', CELL, fields[i])
  end
end
for call_id, hold in pairs(wanted) do
  if redis.call('HEXISTS', CELL, 'd:' .. call_id) == 0 then
    move('reserved', hold[2], hold[1])
    redis.call('HSET', CELL, 'd:' .. call_id, hold[1] .. '|' .. hold[2] .. '|')
  end
end
return 'ok'
