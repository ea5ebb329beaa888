"""The processes that run cells, and their supervisor."""
