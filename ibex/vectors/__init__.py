"""Snapshots of all memories with their vectors, one a day: what was believed when, and what
compares every memory with every other, which a search beside the hot path should not.

    rows.py        what a row of a snapshot is
    dataset.py     a Lance dataset in a folder: writing a version, reading one
    keeping.py     which days' snapshots are kept
    snapshots.py   making, fetching, expiring and erasing them: PostgreSQL, S3 and the manifest
    searching.py   what recall would have found
    nearness.py    sums over vectors: groups, clusters, neighbours
    comparing.py   duplicates, clusters, drift and two models

An organization's snapshots are the tagged versions of one Lance dataset at
`s3://{IBEX_LAKE_BUCKET}/vectors/org={org}/memories.lance`. A version shares no file with another:
what is taken out of one day's is out of it, and a day that is kept no longer leaves nothing.
"""
