"""The frozen inputs of a case and their presentation in prompts."""
