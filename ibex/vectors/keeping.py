"""Which snapshots are kept: every day's for a while, then each month's first for longer."""

from collections.abc import Iterable
from datetime import date, timedelta


def expired(days: Iterable[date], today: date, *, daily: int, monthly: int) -> set[date]:
    """Those of `days` that are kept no longer: not of the last `daily` days, and not the first of
    one of the last `monthly` months. The newest always is."""
    ordered = sorted(set(days))
    first_of_month: dict[tuple[int, int], date] = {}
    for day in ordered:
        first_of_month.setdefault((day.year, day.month), day)
    kept = {day for day in ordered if day > today - timedelta(days=daily)}
    kept |= {day for day in first_of_month.values() if _months_ago(day, today) < monthly}
    kept.update(ordered[-1:])
    return set(ordered) - kept


def _months_ago(day: date, today: date) -> int:
    return (today.year - day.year) * 12 + today.month - day.month
