"""`python -m ibex.cli`: the same as `ibex`."""

from ibex.cli import main

if __name__ == "__main__":
    main()
