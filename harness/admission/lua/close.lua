-- Leave a cell: ended (its receipt stands, nothing of it stays here), released (its journal stays) or suspended (its journal is
-- in a file, reservations of its deferred calls stay). ARGV: prefix, token, how.
if redis.call('HGET', CELL, 'token') ~= ARGV[2] then return 'lost' end
if ARGV[3] == 'ended' then
  bill_killed('h')
  bill_killed('d')
  redis.call('DEL', CELL, JOURNAL)
else
  if ARGV[3] == 'suspended' then redis.call('DEL', JOURNAL) end
  redis.call('HDEL', CELL, 'token', 'holder')
end
return 'ok'
