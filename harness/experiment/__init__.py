"""The parts of the experiment file, as types: each key with its one default and one sentence."""
