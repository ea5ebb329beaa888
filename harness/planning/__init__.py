"""What a run will cost, take and prove, and how its forecast compares with the bill."""
