"""Providers from the settings: their keys, their addresses, and what stops the start."""

import os
from pathlib import Path

import orjson
import pytest

from ibex.errors import ConfigurationError
from ibex.providers import configured_providers
from ibex.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("IBEX_") or name == "OPENAI_API_KEY":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_keys_come_from_the_environment_and_from_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("sk-file\n")
    providers = {
        "direct": {"base_url": "https://a.test/v1/", "api_key": "sk-direct"},
        "file": {"base_url": "https://b.test/v1", "api_key_file": str(tmp_path / "key")},
        "lan": {"base_url": "http://10.0.0.1/v1", "api_key": "x", "allow_private": True},
    }
    monkeypatch.setenv("IBEX_PROVIDERS", orjson.dumps(providers).decode())
    monkeypatch.setenv("OPENAI_API_KEY", "sk-default")
    settings = load_settings()
    found = configured_providers(settings)
    assert [(one.name, one.base_url, one.key) for one in found.values()] == [
        ("default", "https://api.openai.com/v1", "sk-default"),
        ("direct", "https://a.test/v1", "sk-direct"),
        ("file", "https://b.test/v1", "sk-file"),
        ("lan", "http://10.0.0.1/v1", "x"),
    ]
    assert "sk-" not in repr(found) + repr(settings) + str(settings.providers)


@pytest.mark.parametrize(
    "provider",
    [
        {"base_url": "https://a.test/v1"},
        {"base_url": "https://a.test/v1", "api_key": ""},
        {"base_url": "https://a.test/v1", "api_key": "sk secret"},
        {"base_url": "https://a.test/v1", "api_key": "sk-secret", "api_key_file": "/x"},
        {"base_url": "https://a.test/v1", "api_key_file": "/nowhere"},
        {"base_url": "https://u:sk-secret@a.test/v1", "api_key": "sk-secret"},
        {"base_url": "https://a.test/v1?key=sk-secret", "api_key": "sk-secret"},
        {"base_url": "ftp://a.test/v1", "api_key": "sk-secret"},
        {"base_url": "http:///v1", "api_key": "sk-secret"},
        {"base_url": "http://10.0.0.1/v1", "api_key": "sk-secret"},
        {"base_url": "http://169.254.169.254/v1", "api_key": "sk-secret", "allow_private": True},
        {"base_url": "https://a.test/v1", "api_key": "sk-secret", "other": 1},
    ],
)
def test_a_wrong_provider_stops_the_start_and_shows_no_key(
    monkeypatch: pytest.MonkeyPatch, provider: dict[str, object]
) -> None:
    monkeypatch.setenv("IBEX_PROVIDERS", orjson.dumps({"one": provider}).decode())
    with pytest.raises(ConfigurationError) as caught:
        configured_providers(load_settings())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"a"', '{"default": {}}', '{"A b": {}}', "[]"])
def test_a_wrong_setting_is_one_sentence(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("IBEX_PROVIDERS", text)
    with pytest.raises(ConfigurationError):
        load_settings()


def test_the_loopback_may_be_written_out_and_a_private_address_must_be_meant() -> None:
    configured_providers(Settings(provider_base_url="http://localhost:1/v1"))
    configured_providers(Settings(provider_base_url="http://[::1]:1/v1"))
    with pytest.raises(ConfigurationError):
        configured_providers(Settings(provider_base_url="http://192.168.1.1:1/v1"))
    configured_providers(
        Settings(provider_base_url="http://192.168.1.1:1/v1", provider_allow_private=True)
    )
