"""Cells on their way through Redis: the broker, the feed, and what is said beside the queues."""
