"""A check over all organizations, as far as its time goes, or all checks of one."""

import asyncio
import logging
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from ibex.checks.catalogue import CHECKS, Name, Result, Seen
from ibex.checks.looking import Looking
from ibex.errors import IbexError
from ibex.settings import Settings
from ibex.stores.checks import CheckStore

_LONGEST: Final = 60.0  # seconds, of one check in one organization
_log = logging.getLogger("ibex.checks")


@dataclass(frozen=True)
class Checked:
    """What one check found, by organization."""

    name: Name
    results: Sequence[tuple[UUID, Result]] = field(default_factory=list)
    left: int = 0  # organizations for which there was no time

    @property
    def failed(self) -> list[tuple[UUID, Result]]:
        return [(org_id, result) for org_id, result in self.results if not result.passed]


class Checker:
    def __init__(self, looking: Looking, store: CheckStore, settings: Settings) -> None:
        self._looking = looking
        self._store = store
        self._settings = settings

    async def check(self, name: Name, run_id: str | None = None) -> Checked:
        """All organizations, until IBEX_CHECK_SECONDS are over. The results are recorded."""
        until = time.monotonic() + self._settings.check_seconds
        organizations = await self._store.organizations(name)
        results = []
        for org_id in organizations:
            left = until - time.monotonic()
            if left <= 0:
                break
            results.append((org_id, await self._one(name, org_id, min(left, _LONGEST), run_id)))
        return Checked(name, results, len(organizations) - len(results))

    async def check_organization(
        self, org_id: UUID, names: Iterable[Name] = tuple(Name)
    ) -> list[Result]:
        return [await self._one(name, org_id, _LONGEST, None) for name in names]

    async def _one(self, name: Name, org_id: UUID, limit: float, run_id: str | None) -> Result:
        check, settings = CHECKS[name], self._settings
        seen, error = Seen(looked_at=0), None
        try:
            async with asyncio.timeout(limit):
                seen = await self._looking.look(name, org_id)
        except IbexError as failure:
            error = failure.code
        except TimeoutError:
            error = "too_slow"
        except Exception as failure:  # noqa: BLE001 — the other organizations are looked at too
            error = "internal_error"
            lines = "".join(traceback.format_tb(failure.__traceback__))
            _log.error("check %s: %s at\n%s", name, type(failure).__name__, lines)
        result = Result(
            check=check,
            seen=seen,
            threshold=settings.check_thresholds.get(name, check.threshold),
            severity=settings.check_severities.get(name, check.severity),
            error=error,
        )
        if not result.passed:
            _log.warning("check %s failed in organization %s (%s)", name, org_id, error or "found")
        keep = timedelta(days=settings.check_result_days)
        await self._store.record(org_id, result, run_id, datetime.now(UTC), keep)
        return result
