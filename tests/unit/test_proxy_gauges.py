"""What the spool holds is on the page as it is now."""

from pathlib import Path

import pytest

from hotpath.proxy.gauges import Gauges
from hotpath.proxy.providers.routing import Providers
from ibex.errors import DatabaseUnavailableError, NotFoundError, SpoolFullError
from ibex.metrics import render
from ibex.settings import Settings
from ibex.spool import Spool
from tests.scraping import Page, read_page


async def store(payload: bytes) -> None:
    match payload:
        case b"wrong":
            raise NotFoundError("The organization is gone.")
        case b"later":
            raise DatabaseUnavailableError


async def test_the_spool_is_on_the_page(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 500)
    gauges = Gauges(spool, Providers({}, Settings()))

    def look() -> Page:
        gauges.look()
        return read_page(render().decode())

    before = look()
    assert [before.value(f"ibex_spool_{name}") for name in ("turns_waiting", "bytes")] == [0, 0]
    for payload in (b"fine", b"wrong", b"fine", b"later"):
        await spool.append("s", payload)
    with pytest.raises(SpoolFullError):
        await spool.append("s", bytes(500))
    waiting = look()
    assert waiting.value("ibex_spool_turns_waiting") == 4
    assert waiting.value("ibex_spool_bytes") == sum(
        path.stat().st_size for path in tmp_path.glob("*.spool")
    )
    assert waiting.value("ibex_spool_oldest_seconds") > 0
    with pytest.raises(DatabaseUnavailableError):
        await spool.drain(store)
    after = look()
    assert after.value("ibex_spool_turns_waiting") == 1
    for name, grown in (("drained", 2), ("rejected", 1), ("refused", 1), ("torn", 0)):
        total = f"ibex_spool_{name}_total"
        assert after.value(total) - before.value(total) == grown, name
    await spool.close()


async def test_a_disk_that_fails_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spool = Spool(tmp_path / "file" / "spool", 500)
    gauges = Gauges(spool, Providers({}, Settings()))
    before = read_page(render().decode()).value("ibex_spool_refused_total")
    with pytest.raises(SpoolFullError):
        await spool.append("s", b"x")
    gauges.look()
    assert read_page(render().decode()).value("ibex_spool_refused_total") == before + 1
