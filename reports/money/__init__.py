"""What decisions cost, in totals that say what they do not know."""
