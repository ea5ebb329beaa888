"""Attached programs: their process, the address that carries their calls to our model client, and their decision."""
