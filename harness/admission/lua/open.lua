-- Take a cell. ARGV: prefix, holder, opening (unique to this take), attempts before, run cap, then pairs of model and its cap
-- ('' for none). Returns {'ok', token, attempt, journal} | {'held', holder} | {'over', scope}. Asking again with the same opening
-- is safe.
local holder, opening, before, run_cap = ARGV[2], ARGV[3], number(ARGV[4]), ARGV[5]
local f = redis.call('HMGET', CELL, 'token', 'holder', 'attempt', 'opening')
if f[2] and f[4] == opening then return {'ok', tonumber(f[1]), tonumber(f[3]), redis.call('HGETALL', JOURNAL)} end
if f[2] and not is_dead(f[2]) then return {'held', f[2]} end

-- A cap that was met stays met until it is raised: no new cell starts, one that has begun may go on while it fits.
local function is_met(scope, cap)
  local met = redis.call('HGET', LEDGER, 'met|' .. scope)
  return met and cap ~= '' and number(cap) <= number(met)
end
if redis.call('EXISTS', JOURNAL) == 0 then
  if is_met('run', run_cap) then return {'over', 'run'} end
  for i = 6, #ARGV, 2 do
    if is_met('model:' .. ARGV[i], ARGV[i + 1]) then return {'over', 'model', ARGV[i]} end
  end
end

bill_killed('h')
local token = redis.call('HINCRBY', LEDGER, 'fence', 1)
local attempt = math.max(number(f[3]), before) + 1
redis.call('HSET', CELL, 'token', token, 'holder', holder, 'attempt', attempt, 'opening', opening)
redis.call('HDEL', CELL, 'late')
return {'ok', token, attempt, redis.call('HGETALL', JOURNAL)}
