"""A run on disk: its folder, its parts and tables, its frozen inputs and outcomes."""
