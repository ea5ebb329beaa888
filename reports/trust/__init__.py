"""What speaks for and against believing a run."""
