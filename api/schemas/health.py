"""Whether the API lives and can answer."""

from typing import Literal

from api.schemas.base import Output


class Health(Output):
    status: Literal["ok"] = "ok"


class Readiness(Output):
    ready: bool
    checks: dict[str, bool]
