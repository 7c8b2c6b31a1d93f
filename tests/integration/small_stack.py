"""A stack of three small processes, for tests of the supervisor: `python small_stack.py`."""

import sys
from functools import partial

from ibex.embedded.probes import http_answers
from ibex.embedded.process import ProcessSpec
from ibex.embedded.supervisor import main
from ibex.settings import Settings

# A server with a child of its own in a session of its own, as a careless program would have it.
_SERVER = """
import subprocess, sys
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print("child", child.pid, flush=True)
from http.server import HTTPServer, SimpleHTTPRequestHandler
HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""
_STUBBORN = """
import signal, sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
signal.signal(signal.SIGTERM, signal.SIG_IGN)
HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""


async def _never() -> bool:
    return False


def server(name: str, port: int, code: str, *after: str) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        title=name.title(),
        command=(sys.executable, "-c", code, str(port)),
        port=port,
        ready=partial(http_answers, f"http://127.0.0.1:{port}/"),
        after=after,
        stop_timeout=0.5,
    )


def build(settings: Settings) -> list[ProcessSpec]:
    """`base`, then the step `step`, then `top`. The step fails while the home has `broken`."""
    broken = settings.home / "broken"
    step = f"import os, sys; print('a step'); sys.exit(os.path.exists({str(broken)!r}) * 2)"
    return [
        server("base", settings.redis_port, _SERVER),
        ProcessSpec(
            name="step",
            title="Step",
            command=(sys.executable, "-c", step),
            port=None,
            ready=_never,
            once=True,
            after=("base",),
        ),
        server("top", settings.api_port, _STUBBORN, "step"),
    ]


if __name__ == "__main__":
    main(build)
