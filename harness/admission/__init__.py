"""Admission: whether a model call may be sent now. Journal, budget, slots and leases, kept in Redis."""
