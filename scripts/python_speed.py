"""How well this Python serves to set IBEX up, as numbers, the smaller the better:

    0 11 1.35     it brings what can install packages (1: it does not), 3.11, milliseconds of a
                  little work

Ends with 1 when it is no use at all. Reads like any Python 3, so that old ones can say so.
"""

import sys
import time
from importlib.util import find_spec
from shutil import which

_RUNS = 5


def work() -> int:
    seen = dict.fromkeys(range(97), (0, ""))
    for number in range(20_000):
        seen[number % 97] = (number, str(number))
    return len(sorted(range(10_000), key=lambda number: -number)) + len(seen)


def milliseconds() -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def main() -> int:
    if not (3, 11) <= sys.version_info[:2] <= (3, 12) or find_spec("_ssl") is None:
        return 1
    installs = find_spec("ensurepip") or find_spec("pip") or which("uv")
    best = min(milliseconds() for _ in range(_RUNS))
    print(0 if installs else 1, sys.version_info[1], round(best, 2))
    return 0


sys.exit(main())
