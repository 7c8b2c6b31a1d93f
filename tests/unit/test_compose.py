"""docker-compose.yml and the Dockerfile say the same as the settings and the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are no dependency of ours

from ibex.settings import Settings

PROJECT = Path(__file__).parents[2]
COMPOSE = (PROJECT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "ibex:local"}


def test_every_process_of_the_design_is_there() -> None:
    assert set(SERVICES) >= {
        *("postgres", "redis", "minio", "clickhouse", "migrate"),
        *("proxy", "assembler", "embedder", "api", "dashboard"),
        *("dagster-code", "dagster-daemon", "dagster-webserver"),
    }


@pytest.mark.parametrize("name", OURS)
def test_its_variables_are_settings(name: str) -> None:
    known = {f"IBEX_{setting.upper()}" for setting in Settings.model_fields}
    assert set(OURS[name]["environment"]) <= known


def test_what_is_asked_of_the_operator_is_listed_and_has_no_default() -> None:
    head = COMPOSE.partition("x-service")[0]
    secrets = set(re.findall(r"\$\{(\w*(?:PASSWORD|SECRET_KEY))", COMPOSE))
    assert len(secrets) == 6
    assert all(secret in head for secret in secrets)
    assert not re.findall(r"\$\{\w*(?:PASSWORD|SECRET_KEY):?-", COMPOSE)


@pytest.mark.parametrize("name", SERVICES)
def test_it_is_checked_and_waits_only_for_what_exists(name: str) -> None:
    service = SERVICES[name]
    if name == "migrate":
        assert service["restart"] == "no"
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
    for needed, how in service.get("depends_on", {}).items():
        once = needed == "migrate"
        assert needed in SERVICES
        assert how["condition"] == ("service_completed_successfully" if once else "service_healthy")


def test_images_have_a_version() -> None:
    for service in SERVICES.values():
        assert not service["image"].endswith(":latest")
        assert ":" in service["image"]


def test_only_the_migrations_know_the_superuser_and_the_dashboard_no_secret() -> None:
    with_superuser = [
        name for name in OURS if "IBEX_DATABASE_ADMIN_URL" in OURS[name]["environment"]
    ]
    assert with_superuser == ["migrate"]
    assert set(OURS["dashboard"]["environment"]) == {"IBEX_API_URL"}


def test_the_image_holds_every_package_and_runs_as_nobody_special() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()
    ignored = (PROJECT / ".dockerignore").read_text()
    for package in ("ibex", "hotpath", "assets", "orchestration", "api", "dashboard", "migrations"):
        assert f"COPY {package} {package}" in dockerfile
        assert f"!{package}\n" in ignored
    assert "USER ibex" in dockerfile
    assert "--torch-backend=cpu" in dockerfile
