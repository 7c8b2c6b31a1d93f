from pathlib import Path

from pydantic import SecretStr

from ibex.embedded.secrets_file import SECRETS, ensure_secrets
from ibex.settings import SECRETS_FILE, Settings


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    first = ensure_secrets(settings)
    file = settings.home / SECRETS_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    values = [getattr(first, name).get_secret_value() for name in SECRETS]
    assert len(set(values)) == len(SECRETS)
    assert all(len(value) >= 24 for value in values)
    written = file.read_text()
    assert ensure_secrets(settings) == first
    assert file.read_text() == written
    assert first.redis_password.get_secret_value() in first.redis_dsn


def test_a_secret_of_ones_own_is_kept(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_password=SecretStr("mine"))
    assert ensure_secrets(settings).redis_password.get_secret_value() == "mine"
    assert "IBEX_REDIS_PASSWORD=mine\n" in (tmp_path / SECRETS_FILE).read_text()


def test_a_missing_secret_is_added_to_those_there(tmp_path: Path) -> None:
    (tmp_path / SECRETS_FILE).write_text("# kept\nIBEX_REDIS_PASSWORD=old\n")
    settings = ensure_secrets(Settings(home=tmp_path))
    assert settings.redis_password.get_secret_value() == "old"
    assert settings.postgres_password.get_secret_value()
    assert (tmp_path / SECRETS_FILE).read_text().startswith("# kept\nIBEX_REDIS_PASSWORD=old\n")
