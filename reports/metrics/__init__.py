"""Measured quantities of an arm: their declarations, their values per case, their intervals and paired differences."""
