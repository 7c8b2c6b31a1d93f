import logging
from uuid import UUID

import pytest

from api.services import Services
from ibex.settings import Settings
from ibex.stores.management import ManagementStore
from tests.integration.api.conftest import Api

SECRET = "hunter2"


async def test_wrong_requests_are_told_by_field_and_never_by_value(api: Api) -> None:
    for method, path, body, param in (
        ("POST", "/agents", {"name": [SECRET]}, "name"),
        ("POST", "/agents", {"name": "x", SECRET + "$": 1}, "?"),
        ("POST", "/tokens", {"name": "x", "scopes": [SECRET]}, "scopes.0"),
        ("GET", f"/memories/{SECRET}", None, "memory_id"),
        ("GET", f"/agents?limit={SECRET}", None, "limit"),
    ):
        answer = await api.call(method, path, body)
        assert answer.status == 400, path
        assert answer.body["error"]["param"] == param
        assert answer.body["error"]["type"] == "invalid_request_error"
        assert SECRET not in str(answer.body)
        assert answer.body["request_id"] == answer.headers["x-request-id"]


async def test_malformed_bodies_are_400_and_large_ones_413(api: Api) -> None:
    for raw, status in ((b'{"name": ', 400), (b"\xff", 400), (b"[]", 400), (b"x" * 2**21, 413)):
        answer = await api.call("POST", "/agents", raw=raw)
        assert answer.status == status
        assert answer.body["error"]["message"]


async def test_unknown_addresses_and_methods_have_the_envelope_too(api: Api) -> None:
    for method, path, status, code in (
        ("GET", "/nothing", 404, "not_found"),
        ("PATCH", "/agents", 405, "method_not_allowed"),
    ):
        answer = await api.call(method, path)
        assert (answer.status, answer.body["error"]["code"]) == (status, code)
        assert answer.body["request_id"] == answer.headers["x-request-id"]


async def test_what_nobody_expected_is_a_500_and_logged_without_its_text(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(ManagementStore, "overview", fail)
    with caplog.at_level(logging.INFO):
        answer = await api.call("GET", "/overview")
    assert (answer.status, answer.body["error"]["code"]) == (500, "internal_error")
    assert SECRET not in caplog.text
    assert SECRET not in str(answer.body)
    assert f"unexpected ValueError at {__file__}" in caplog.text
    assert caplog.text.count(answer.headers["x-request-id"]) == 2


async def test_the_log_has_the_route_and_not_what_was_asked(
    api: Api, agent_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ibex.api"):
        await api.get(f"/agents/assistant/memories?q={SECRET}")
    assert "/agents/{agent}/memories 200" in caplog.text
    assert SECRET not in caplog.text


async def test_alive_and_ready_are_told_apart(
    api: Api, api_server: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = api_server.api_endpoint
    assert (await api.call("GET", f"{base}/health")).status == 200
    assert (await api.call("GET", f"{base}/openapi.json")).status == 200

    async def ready(_: Services) -> dict[str, bool]:
        return {"postgres": False, "auth": True}

    monkeypatch.setattr(Services, "ready", ready)
    answer = await api.call("GET", f"{base}/ready")
    assert (answer.status, answer.body["checks"]["postgres"]) == (503, False)
    assert (await api.call("GET", f"{base}/health")).status == 200
