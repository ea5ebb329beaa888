"""Facts that agents, reports and harness share: plain dataclasses and tables. Imports nothing of ours and does no I/O."""
