"""What becomes of archives: PostgreSQL lets go of what they hold, and somebody looks after them."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import Config, Failure, OpExecutionContext, job, op
from pydantic import Field

from assets.stores import Stores
from ibex.stores.content import ContentDropper
from ibex.stores.verifying import StoreVerifier


@op(required_resource_keys={"stores"})
def drop_archived_content(context: OpExecutionContext) -> None:
    """What was said leaves PostgreSQL IBEX_TURN_CONTENT_DAYS after the last turn of its session,
    when it is extracted and its archive, read again, is the same."""
    stores: Stores = context.resources.stores
    before = datetime.now(UTC) - timedelta(days=stores.settings.turn_content_days)
    dropped = stores.wait(ContentDropper(stores.database, stores.archive).drop(before))
    figures: dict[str, Any] = asdict(dropped)
    if dropped.damaged:
        raise Failure(
            f"{dropped.damaged} archives were not what had been written. Nothing of these sessions "
            "was dropped; they are archived anew.",
            metadata=figures,
        )
    context.add_output_metadata(figures)


@job(description="Lets go of turns' content that is in the archive for good.")
def dropping() -> None:
    drop_archived_content()


class VerificationConfig(Config):
    share: float = Field(0.05, ge=0, le=1, description="Of the files; their checksums are compared")
    repair: bool = Field(True, description="Write archives anew, delete old orphans")


@op(required_resource_keys={"stores"})
def verify_stores(context: OpExecutionContext, config: VerificationConfig) -> None:
    """The manifest beside the objects of both buckets, as `ibex lake verify` does it."""
    stores: Stores = context.resources.stores
    verifier = StoreVerifier(stores.database, stores.objects, stores.archive, stores.settings)
    done = stores.wait(verifier.verify(datetime.now(UTC), share=config.share, repair=config.repair))
    figures: dict[str, Any] = {
        "files": done.files,
        "objects": done.objects,
        "bytes": done.bytes,
        "read": done.read,
        "faults": done.counts,
    }
    if done.bad:
        raise Failure(
            f"{done.bad} files are missing or not as they were written. 'ibex lake verify' lists "
            "them.",
            metadata=figures,
        )
    context.add_output_metadata(figures)


@job(description="Compares the manifest with the objects in S3 and repairs what can be repaired.")
def store_verification() -> None:
    verify_stores()
