"""The HTML pages of a run: report.html, one page per case, and the page of what changed between two runs."""
