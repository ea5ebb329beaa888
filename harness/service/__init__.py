"""The HTTP service: jobs, each of them one cell of a run that never ends."""
