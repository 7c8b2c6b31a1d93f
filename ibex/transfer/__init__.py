"""Memories, sessions and injections out of IBEX and back in, as files of any size.

tables.py     what a row of each table has
formats.py    rows as CSV, JSON, JSON lines or Parquet
exporting.py  rows out of PostgreSQL, through a cursor
reading.py    rows out of a file, each with its place in it
memories.py   rows of memories into PostgreSQL
person.py     all that is known of one user, as one archive
"""
