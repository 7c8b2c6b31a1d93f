"""The model servers: where they are, whether they may be asked, and in which order."""
