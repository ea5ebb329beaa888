"""The queue of cells on Redis: broker, feed, registry of runs, and control messages."""
