"""The servers and services on one machine, without Docker or root.

servers.py      PostgreSQL, Redis and S3 from wheels: how each is started and probed
clickhouse.py   ClickHouse from a wheel: chDB behind ClickHouse's own HTTP interface
stack.py        the list of all processes, in order of start
supervisor.py   keeps them alive, stops them in reverse order
"""
