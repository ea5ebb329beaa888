"""Which roles may go local: replays, swap designs and the lineup that they recommend."""
