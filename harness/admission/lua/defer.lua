-- Reserve money for a request that is answered later; it needs no slot. ARGV: prefix, token, call_id, model, worst, then caps of
-- call, cell, model, run and month. Returns {'ok'} | {'money', scope} | {'over', scope, cap, spent} | {'lost'} | {'stop'}. Asking again
-- with the same call_id is safe.
local token, call_id, model, worst = unpack(ARGV, 2, 5)
local caps = {call = ARGV[6], cell = ARGV[7], model = ARGV[8], run = ARGV[9], month = ARGV[10] or ''}
if redis.call('HGET', CELL, 'token') ~= token then return {'lost'} end
if redis.call('HEXISTS', CELL, 'd:' .. call_id) == 1 then return {'ok'} end
if redis.call('GET', CONTROL) == 'stop' then return {'stop'} end
local refusal = refuse_money(model, number(worst), caps)
if refusal then return refusal end
move('reserved', model, worst)
redis.call('HSET', CELL, 'd:' .. call_id, worst .. '|' .. model .. '|')
return {'ok'}
