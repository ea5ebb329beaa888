-- Whether the cell is still held. ARGV: prefix, token. Returns {'lost'} or {'ok', journal if something came late}; changes nothing.
if redis.call('HGET', CELL, 'token') ~= ARGV[2] then return {'lost'} end
if redis.call('HEXISTS', CELL, 'late') == 0 then return {'ok', {}} end
return {'ok', redis.call('HGETALL', JOURNAL)}
