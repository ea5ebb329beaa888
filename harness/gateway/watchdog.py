"""Ends process groups whose worker is gone: a program of its own, which reads `+GROUP` and `-GROUP` from its parent."""

import contextlib
import os
import signal
import sys
import time

GRACE_S = 2.0


def main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(OSError):
                os.killpg(group, signum)
        if groups and signum == signal.SIGTERM:
            time.sleep(GRACE_S)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    main()
