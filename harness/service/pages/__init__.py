"""The service's page: what jobs, runs and servers do now, one decision by hand, and the month's bill."""
