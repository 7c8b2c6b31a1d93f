"""Memories, sessions and injections out of IBEX and back in, as files of any size.

tables.py       what a row of each table has
formats.py      rows as CSV, JSON, JSON lines or Parquet
exporting.py    rows out of PostgreSQL, through a cursor
person.py       all that is known of one user, as one archive
saving.py       a file that is there whole or not at all
reading.py      rows out of a file, each with its place in it
memory_rows.py  a row of memories checked, redacted and judged
memories.py     such rows into PostgreSQL
"""
