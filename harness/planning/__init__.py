"""Forecasts: what a run will cost, take and prove, and how far earlier forecasts were off."""
