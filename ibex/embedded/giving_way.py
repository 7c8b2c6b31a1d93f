"""`python -m ibex.embedded.giving_way MODULE`: MODULE as a program that gives way to others."""

import runpy
import sys

from ibex.resources import give_way

if __name__ == "__main__":
    give_way()
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
