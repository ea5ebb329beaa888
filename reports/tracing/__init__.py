"""Where a figure in a text comes from."""
