"""The processes that run cells, and the one that looks after them."""
