"""Step 3: what makes the words of two statements the same."""

import hashlib
import unicodedata


def normalise(text: str) -> str:
    """The form in which words are compared: NFKC, each run of white space one space. The case
    stays: in names of hosts, files and keys it means something."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def content_hash(content: str) -> bytes:
    """32 bytes: SHA-256 of the normalised words."""
    return hashlib.sha256(normalise(content).encode()).digest()
