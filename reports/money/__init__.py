"""What decisions cost; totals report what is unknown."""
