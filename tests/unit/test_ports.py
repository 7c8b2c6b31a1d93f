import os
import socket
from pathlib import Path

import pytest

from ibex.embedded.ports import check_ports, is_free
from ibex.embedded.stack import processes
from ibex.errors import ConfigurationError, EmbeddedServerError
from ibex.settings import Settings


def test_a_taken_port_is_named_with_its_holder_and_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings = Settings(home=tmp_path, dagster_port=port)
        with pytest.raises(EmbeddedServerError) as failed:
            check_ports(settings, processes(settings))
        assert f"Port {port} for Dagster UI" in failed.value.message
        assert f"pid {os.getpid()}" in failed.value.message
        assert "IBEX_DAGSTER_PORT" in failed.value.message
    assert is_free("127.0.0.1", port)


def test_two_processes_cannot_share_a_port(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, api_port=8080)
    with pytest.raises(ConfigurationError) as failed:
        check_ports(settings, processes(settings))
    assert "IBEX_PROXY_PORT and IBEX_API_PORT" in failed.value.advice


def test_an_address_of_another_machine_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="IBEX_HOST"):
        is_free("192.0.2.1", 1)
