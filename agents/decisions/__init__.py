"""Decisions read from what a model wrote, or an honest word on why there is none."""
