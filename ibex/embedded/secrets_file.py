"""`$IBEX_HOME/secrets.env`: random passwords of the embedded servers, made once, kept for ever."""

import os
import secrets
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr

from ibex.embedded.process import private_folder
from ibex.settings import SECRETS_FILE, Settings

SECRETS = (
    "postgres_password",
    "postgres_app_password",
    "postgres_dagster_password",
    "redis_password",
    "s3_secret_key",
    "clickhouse_password",
)


def ensure_secrets(settings: Settings) -> Settings:
    """Make what is missing; what is there stays. Returns settings that know all of them.

    A secret that is set elsewhere (the environment, `.env`) is written as it is set.
    """
    file = private_folder(settings.home) / SECRETS_FILE
    kept = {name: value or "" for name, value in dotenv_values(file).items()}
    missing = {
        variable(name): current(settings, name) or secrets.token_urlsafe(24)
        for name in SECRETS
        if not kept.get(variable(name))
    }
    if missing:
        lines = [f"{name}={value}\n" for name, value in missing.items()]
        before = file.read_text() if file.exists() else ""
        _replace(file, before + "".join(lines))
    stored = kept | missing
    return settings.model_copy(
        update={
            name: SecretStr(current(settings, name) or stored[variable(name)]) for name in SECRETS
        }
    )


def variable(name: str) -> str:
    return f"IBEX_{name.upper()}"


def current(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return str(value.get_secret_value()) if isinstance(value, SecretStr) else str(value)


def _replace(file: Path, text: str) -> None:
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    draft.replace(file)
