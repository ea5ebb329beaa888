-- What time alone changes: dead holders, an over Retry-After, a model whose turn has come. ARGV: prefix.
meter()
reap()
grant(nil)
return 'ok'
