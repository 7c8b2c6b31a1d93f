"""Every request has an id of ours.

A client's own x-request-id is not taken: a turn is recorded once a request id, so a client that
sends the same id with every request would lose all but its first turn.
"""

from ibex.ids import new_id


def new_request_id() -> str:
    return f"req_{new_id().hex}"
