"""Is every port of the stack free, and if not, who has it and which setting moves it?"""

import errno
import socket
from collections.abc import Sequence

import psutil

from ibex.embedded.process import ProcessSpec
from ibex.errors import ConfigurationError, EmbeddedServerError
from ibex.settings import Settings


def check_ports(settings: Settings, specs: Sequence[ProcessSpec]) -> None:
    """Raises EmbeddedServerError naming every taken port, ConfigurationError for a double one."""
    seen: dict[int, ProcessSpec] = {}
    for spec in specs:
        if spec.port is None:
            continue
        if spec.port in seen:
            names = " and ".join(setting_names(settings, spec.port))
            raise ConfigurationError(
                f"{seen[spec.port].title} and {spec.title} are both to listen on port {spec.port}.",
                hint=f"Change one of {names}.",
            )
        seen[spec.port] = spec
    taken = [
        _complaint(settings, spec)
        for port, spec in seen.items()
        if any(not is_free(host, port) for host in dict.fromkeys(("127.0.0.1", settings.host)))
    ]
    if taken:
        raise EmbeddedServerError(
            "Nothing was started: " + " ".join(taken), hint="Then run 'ibex up' again."
        )


def is_free(host: str, port: int) -> bool:
    """Raises ConfigurationError when this machine has no such address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise ConfigurationError(f"IBEX_HOST {host} is no address of this machine.") from error
    return True


def setting_names(settings: Settings, port: int) -> list[str]:
    return [
        f"IBEX_{name.upper()}"
        for name in Settings.model_fields
        if name.endswith("_port") and getattr(settings, name) == port
    ]


def holder(port: int) -> str:
    """`nginx (pid 12)`, as far as this user may see it."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "another process"
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        if connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                continue
    return "another process"


def _complaint(settings: Settings, spec: ProcessSpec) -> str:
    if spec.port is None:
        raise ValueError(f"{spec.name} has no port")
    names = " or ".join(setting_names(settings, spec.port))
    return (
        f"Port {spec.port} for {spec.title} is held by {holder(spec.port)}; "
        f"stop it, or set {names} to another port."
    )
