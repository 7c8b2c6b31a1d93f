"""The model servers that an operator has configured, each with its own key.

A caller never chooses an address: it names an agent, the agent's policy names a provider, and the
provider's address stands in the settings. Keys come from the environment or from secret files and
go to their own provider's host alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, StringConstraints, field_validator

from ibex.addresses import is_permitted, literal_address
from ibex.errors import ConfigurationError
from ibex.policy import DEFAULT_PROVIDER

if TYPE_CHECKING:
    from ibex.settings import Settings

ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,49}$")]


class ProviderSettings(BaseModel):
    """One member of IBEX_PROVIDERS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    allow_private: bool = False

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        return plain_base_url(url)


@dataclass(frozen=True)
class Provider:
    name: str
    base_url: str  # ends in /v1 or the like, never in a slash
    key: str = field(repr=False)
    allow_private: bool = False  # its name may resolve to an address of a private network


def plain_base_url(url: str) -> str:
    """Without a trailing slash. Raises ValueError for one with credentials, a query or no host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must start with http:// or https:// and name a host")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must not hold credentials, a query or a fragment")
    return url.rstrip("/")


def configured_providers(settings: "Settings") -> Mapping[str, Provider]:
    """By name; `default` is what IBEX_PROVIDER_BASE_URL and IBEX_PROVIDER_API_KEY say.

    Reads the secret files. Raises ConfigurationError, also for an address that is written out and
    lies in a private network without `allow_private`; the loopback may always be written out.
    """
    default = Provider(
        DEFAULT_PROVIDER,
        settings.provider_url,
        settings.provider_key,
        settings.provider_allow_private,
    )
    named = (
        Provider(name, one.base_url, _key(name, one), one.allow_private)
        for name, one in settings.providers.items()
    )
    providers = {one.name: one for one in (default, *named)}
    for provider in providers.values():
        address = literal_address(urlsplit(provider.base_url).hostname or "")
        if address is None or address.is_loopback:
            continue
        if not is_permitted(address, allow_private=provider.allow_private):
            raise ConfigurationError(
                f"The provider {provider.name} is at an address of a private network.",
                hint="If that is meant, set IBEX_PROVIDER_ALLOW_PRIVATE, or allow_private in "
                "IBEX_PROVIDERS.",
            )
    return providers


def _key(name: str, provider: ProviderSettings) -> str:
    if (provider.api_key is None) == (provider.api_key_file is None):
        raise ConfigurationError(
            f"IBEX_PROVIDERS: {name} needs either api_key or api_key_file.",
            hint="A server that takes any key gets any text.",
        )
    if provider.api_key_file is None:
        key = provider.api_key.get_secret_value() if provider.api_key else ""
    else:
        try:
            key = provider.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"IBEX_PROVIDERS: the api_key_file of {name} cannot be read "
                f"({type(error).__name__})."
            ) from None
    if not is_key(key):
        raise ConfigurationError(f"IBEX_PROVIDERS: the key of {name} is empty or not a key.")
    return key


def is_key(text: str) -> bool:
    """Whether it can stand in a header as it is."""
    return 0 < len(text) <= 4096 and text.isascii() and text.isprintable() and " " not in text
