"""What happened after the decisions: which cases may carry a claim, placebos, and the value of following an arm."""
