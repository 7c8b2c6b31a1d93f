"""A load generator is a process of its own, so that it is not what is measured: a plan in, a result
out, both JSON."""

import asyncio
import sys
import tempfile
from typing import Any, Final

import orjson

from ibex.errors import EmbeddedServerError

_PATIENCE: Final = 60.0  # seconds on top of what the plan takes


async def generate(module: str, plan: Any, seconds: float) -> dict[str, Any]:
    """`plan` is a dataclass. Raises EmbeddedServerError when the generator fails, TimeoutError when
    it takes a minute longer than `seconds`."""
    # Into a file: through a pipe, a long result once came cut off after 64 KiB.
    with tempfile.TemporaryFile() as written:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module),
            stdin=asyncio.subprocess.PIPE,
            stdout=written,
            start_new_session=True,  # Ctrl-C is for the benchmark, which ends this
        )
        try:
            async with asyncio.timeout(seconds + _PATIENCE):
                await process.communicate(orjson.dumps(plan))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise EmbeddedServerError("The load generator failed.", hint="See above.")
        written.seek(0)
        result: dict[str, Any] = orjson.loads(written.read())
    return result
