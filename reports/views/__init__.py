"""What each section of the page reads, computed when it is first asked for."""
