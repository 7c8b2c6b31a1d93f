"""The template of a request's path: what metrics and spans may say of it.

A path can hold an application's session id, or whatever else a client made up.
"""

from typing import Final

OTHER: Final = "other"
_PLAIN: Final = {
    path.encode(): path
    for path in (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/health",
        "/ready",
        "/metrics",
    )
}


def route_of(path: bytes) -> str:
    """`other` for what the proxy does not know."""
    plain = _PLAIN.get(path)
    if plain is not None:
        return plain
    match path.split(b"/")[1:]:
        case [b"v1", b"sessions", _, b"complete"]:
            return "/v1/sessions/{id}/complete"
        case [b"v1", b"models", *_]:
            return "/v1/models/{model}"
    return OTHER
