"""The settings as `.env.example`: `python -m ibex.settings_docs` writes it."""

from pathlib import Path

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from ibex.settings import SECRETS_FILE, Settings

ENV_EXAMPLE = Path(__file__).parents[1] / ".env.example"


def render_env_example() -> str:
    """Every setting with its description and its default, commented out."""
    head = (
        "# Every setting of IBEX, with its default. Copy what you change into .env, or set it in\n"
        f"# the environment. The first 'ibex up' makes the secrets: $IBEX_HOME/{SECRETS_FILE}."
    )
    blocks = (_block(name, field) for name, field in Settings.model_fields.items())
    return "\n\n".join((head, *blocks)) + "\n"


def variable(name: str, field: FieldInfo) -> str:
    """The environment variable of a setting."""
    if isinstance(field.validation_alias, AliasChoices):
        return str(field.validation_alias.choices[0])
    return f"IBEX_{name.upper()}"


def _block(name: str, field: FieldInfo) -> str:
    return f"# {field.description}\n#{variable(name, field)}={_default(field)}"


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)


if __name__ == "__main__":
    ENV_EXAMPLE.write_text(render_env_example(), encoding="utf-8")
