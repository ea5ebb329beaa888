"""Profiles the event loop's thread of every process that Python forks, into the folder that PROFILE names."""

from __future__ import annotations

import cProfile
import os
import time
from typing import NoReturn

if folder := os.environ.get("PROFILE"):
    leave = os._exit

    def _begin() -> None:
        profile = cProfile.Profile(time.thread_time)
        profile.enable()

        def left(status: int) -> NoReturn:
            profile.disable()
            profile.dump_stats(os.path.join(folder or ".", f"{os.getpid()}.prof"))
            leave(status)

        os._exit = left

    os.register_at_fork(after_in_child=_begin)
