"""The `find` command: the cheapest arm that is good enough, tested block by block."""
