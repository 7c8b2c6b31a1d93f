"""IBEX, the memory engine: everything the services share, and usable without them."""
