"""What stands between a pipeline and a model: journal, money, slots and leases, kept in Redis."""
