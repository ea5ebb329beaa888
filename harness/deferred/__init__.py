"""Deferred calls: requests that are handed to a provider now and answered minutes or hours later."""
