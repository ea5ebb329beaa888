"""One execution of an experiment: run, follow, finish; its status; replays and rehearsals."""
