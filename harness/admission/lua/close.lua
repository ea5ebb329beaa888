-- Leave a cell: ended (its receipt stands, nothing of it stays here) or released (its journal stays). ARGV: prefix, token, how.
if redis.call('HGET', CELL, 'token') ~= ARGV[2] then return 'lost' end
if ARGV[3] == 'ended' then
  bill_killed()
  redis.call('DEL', CELL, JOURNAL)
else
  redis.call('HDEL', CELL, 'token', 'holder')
end
return 'ok'
