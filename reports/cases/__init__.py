"""The pages of the cases: what every arm saw, was asked and answered."""
