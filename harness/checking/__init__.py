"""What a run needs, looked at before anything is spent."""
