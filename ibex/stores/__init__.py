"""Adapters: everything that talks to a server is here, and decides nothing."""
