"""A run on disk: its folder, parts and tables, frozen inputs and outcomes."""
