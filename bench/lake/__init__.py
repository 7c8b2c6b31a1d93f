"""The lakehouse: archives, scans, compaction, exports and snapshots; `make bench-lake`."""
