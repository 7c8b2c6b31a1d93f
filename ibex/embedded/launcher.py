"""Runs a command that is told when its parent dies. Started as a file, without site packages.

    python -I -S launcher.py SIGNAL PARENT COMMAND…

Where the system can (Linux), the kernel sends SIGNAL to COMMAND once the process PARENT has died,
however it died: a killed supervisor leaves no orphan. Source: prctl(2), PR_SET_PDEATHSIG.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    number, parent, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(0)
    try:
        os.execvp(command[0], command)  # noqa: S606 — the command is ours, and no shell is wanted
    except OSError as error:
        sys.exit(f"ibex: cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
