"""What checks found."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.base import Output
from ibex.checks.catalogue import CHECKS, Name, Severity, Unit
from ibex.stores.checks import CheckRecord


class CheckResult(Output):
    id: UUID
    check_name: str
    passed: bool
    severity: Severity = Field(description="Of a failure.")
    looked_at: int = Field(description="Memories, hot lists, archives or sessions.")
    value: float = Field(description="A share, a count or seconds: see the check's unit.")
    threshold: float = Field(description="The largest value that passes.")
    found: dict[str, int] = Field(description="What is wrong, and how many have it.")
    examples: list[str] = Field(description="Ids of the first of them.")
    error: str | None = Field(description="The code of what kept the check from looking.")
    run_id: str | None = Field(description="Of Dagster.")
    since: datetime = Field(description="It has passed, or failed, since then.")
    checked_at: datetime = Field(description="The last time.")

    @classmethod
    def of(cls, record: CheckRecord) -> Self:
        return cls.model_validate(record)


class Check(Output):
    name: Name
    title: str
    description: str
    asset: str = Field(description="Of Dagster.")
    unit: Unit
    result: CheckResult | None = Field(description="Null: it has not looked here yet.")


class Checks(Output):
    failing: int
    checks: list[Check]

    @classmethod
    def of(cls, records: list[CheckRecord]) -> Self:
        latest = {record.check_name: CheckResult.of(record) for record in records}
        return cls(
            failing=sum(not result.passed for result in latest.values()),
            checks=[
                Check(
                    name=check.name,
                    title=check.title,
                    description=check.description,
                    asset=check.asset,
                    unit=check.unit,
                    result=latest.get(check.name),
                )
                for check in CHECKS.values()
            ],
        )
