"""The values that cross the border of `agents`: what a caller hands in, what comes back, and the door's contract."""
