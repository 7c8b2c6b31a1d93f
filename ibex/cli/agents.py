"""`ibex agent create|set`: an agent and its policy."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from pydantic import TypeAdapter, ValidationError

from ibex.cli.admin import Json, Org, print_values, with_store
from ibex.errors import InvalidRequestError
from ibex.policy import DEFAULT_PROVIDER, MOST_FALLBACKS, MOST_RETRIES, Fallback
from ibex.providers import ProviderName
from ibex.settings import load_settings
from ibex.stores.identity import Agent, IdentityStore
from ibex.stores.invalidation import Invalidations

agent_app = typer.Typer(help="Agents: AI applications of an organization.", no_args_is_help=True)

Model = Annotated[str | None, typer.Option(help="Its default model.")]
Allow = Annotated[
    list[str] | None, typer.Option(help="A model it may use; repeat. All without a list.")
]
MemoryTokens = Annotated[
    int | None, typer.Option(min=0, max=1_000_000, help="Memory tokens a request.")
]
Provider = Annotated[
    str | None, typer.Option(help="Of IBEX_PROVIDERS; the deployment's is 'default'.")
]
Fallbacks = Annotated[
    list[str] | None,
    typer.Option(
        "--fallback", help="PROVIDER/MODEL to ask when the first one fails; repeat, in order."
    ),
]
Retries = Annotated[
    int | None, typer.Option(min=0, max=MOST_RETRIES, help="Further tries at each of them.")
]
FirstByte = Annotated[
    float | None,
    typer.Option(min=0.1, max=3600, help="Limit for one try to begin its answer."),
]


class Status(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


class Clearable(StrEnum):
    """Options of `set`, by what they are called there."""

    DESCRIPTION = "description"
    MODEL = "model"
    ALLOW = "allow"
    MEMORY_TOKENS = "memory-tokens"
    PROVIDER = "provider"
    FALLBACK = "fallback"
    RETRIES = "retries"
    FIRST_BYTE_SECONDS = "first-byte-seconds"


#: What each of them changes, and what it is without.
_MEMBERS: Final[Mapping[Clearable, tuple[str, Any]]] = {
    Clearable.MODEL: ("default_model", None),
    Clearable.ALLOW: ("allowed_models", []),
    Clearable.PROVIDER: ("provider", None),
    Clearable.FALLBACK: ("fallbacks", None),
    Clearable.RETRIES: ("retries", None),
    Clearable.FIRST_BYTE_SECONDS: ("first_byte_timeout", None),
}
_COLUMNS: Final[Mapping[Clearable, tuple[str, Any]]] = {
    Clearable.DESCRIPTION: ("description", ""),
    Clearable.MEMORY_TOKENS: ("memory_token_budget", None),
}


@agent_app.command("create")
def create_agent(
    name: str,
    org: Org = "demo",
    model: Model = None,
    allow: Allow = None,
    memory_tokens: MemoryTokens = None,
    provider: Provider = None,
    fallback: Fallbacks = None,
    retries: Retries = None,
    first_byte_seconds: FirstByte = None,
    json: Json = False,
) -> None:
    """Make an agent."""
    fallbacks = _fallbacks(fallback)
    _check_providers(provider, fallbacks)

    async def work(store: IdentityStore) -> UUID:
        return await store.create_agent(
            await store.organization(org),
            name,
            default_model=model,
            allowed_models=allow or (),
            memory_token_budget=memory_tokens,
            provider=provider,
            fallbacks=fallbacks,
            retries=retries or 0,
            first_byte_timeout=first_byte_seconds,
        )

    print_values({"agent_id": with_store(work), "name": name}, json)


@agent_app.command("set")
def set_agent(
    name: Annotated[str, typer.Argument(help="The agent's name or id.")],
    org: Org = "demo",
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    status: Annotated[Status | None, typer.Option(help="A suspended one is refused.")] = None,
    model: Model = None,
    allow: Allow = None,
    memory_tokens: MemoryTokens = None,
    provider: Provider = None,
    fallback: Fallbacks = None,
    retries: Retries = None,
    first_byte_seconds: FirstByte = None,
    clear: Annotated[
        list[Clearable] | None,
        typer.Option(help="An option to take away, so that the deployment's holds; repeat."),
    ] = None,
    json: Json = False,
) -> None:
    """Change an agent; show what holds. What is not named stays as it is.

    A list (--allow, --fallback) replaces the one before. Every proxy follows within a second.
    """
    fallbacks = _fallbacks(fallback)
    _check_providers(provider, fallbacks)
    said = {
        Clearable.DESCRIPTION: description,
        Clearable.MODEL: model,
        Clearable.ALLOW: allow,
        Clearable.MEMORY_TOKENS: memory_tokens,
        Clearable.PROVIDER: provider,
        Clearable.FALLBACK: [{"provider": one.provider, "model": one.model} for one in fallbacks]
        or None,
        Clearable.RETRIES: retries,
        Clearable.FIRST_BYTE_SECONDS: first_byte_seconds,
    }
    policy, columns = _change(said, clear or (), _MEMBERS), _change(said, clear or (), _COLUMNS)
    if status is not None:
        columns["status"] = status.value

    async def work(store: IdentityStore) -> tuple[UUID, Agent]:
        org_id = await store.organization(org)
        agent = await store.agent(org_id, name)
        if policy or columns:
            await store.change_agent(org_id, agent.id, columns, policy)
            agent = await store.agent(org_id, agent.id)
        return org_id, agent

    async def announce(processes: Invalidations, done: tuple[UUID, Agent]) -> None:
        await processes.agent_changed(done[0], done[1].id)
        if "memory_token_budget" in columns:
            await processes.directive_changed(done[0], done[1].id)

    _, agent = with_store(work, announce if policy or columns else None)
    shown = _shown(agent)
    print_values(shown if json else {name: _text(value) for name, value in shown.items()}, json)


def _change(
    said: Mapping[Clearable, object],
    cleared: list[Clearable] | tuple[()],
    members: Mapping[Clearable, tuple[str, Any]],
) -> dict[str, Any]:
    """By the names that the store knows. Raises InvalidRequestError."""
    change: dict[str, Any] = {}
    for option, (name, without) in members.items():
        value = said[option]
        if value is not None:
            if option in cleared:
                raise InvalidRequestError(
                    f"--{option} and --clear {option} contradict each other.", hint="Say one."
                )
            if value in ("", [""]) and option is not Clearable.DESCRIPTION:
                raise InvalidRequestError(
                    f"--{option} is empty.", hint=f"Take it away with --clear {option}."
                )
            change[name] = value
        elif option in cleared:
            change[name] = without
    return change


def _shown(agent: Agent) -> dict[str, object]:
    """As the API calls it."""
    policy = agent.policy
    return {
        "agent_id": agent.id,
        "name": agent.name,
        "status": agent.status,
        "default_model": policy.default_model,
        "allowed_models": sorted(policy.allowed_models),
        "provider": policy.provider,
        "fallbacks": [{"provider": one.provider, "model": one.model} for one in policy.fallbacks],
        "retries": policy.retries,
        "first_byte_timeout": policy.first_byte_timeout,
        "memory_token_budget": agent.memory_token_budget,
    }


def _text(value: object) -> object:
    if isinstance(value, list):
        parts = ["/".join(one.values()) if isinstance(one, dict) else one for one in value]
        return ", ".join(parts) or "-"
    return "the deployment's" if value is None else value


def _fallbacks(texts: list[str] | None) -> list[Fallback]:
    """Raises InvalidRequestError."""
    if len(texts or ()) > MOST_FALLBACKS:
        raise InvalidRequestError(
            f"There are more than {MOST_FALLBACKS} fallbacks.", hint="Name fewer."
        )
    return [_fallback(text) for text in texts or ()]


def _fallback(text: str) -> Fallback:
    provider, _, model = text.partition("/")
    if not (provider and model):
        raise InvalidRequestError(
            "A fallback is not PROVIDER/MODEL.", hint="Write default/gpt-4o-mini, for example."
        )
    return Fallback(provider, model)


def _check_providers(provider: str | None, fallbacks: list[Fallback]) -> None:
    """Says which ones the settings here do not know: the proxies' may. Raises InvalidRequestError
    for what cannot be a provider's name."""
    known = {DEFAULT_PROVIDER, *load_settings().providers}
    named = {one.provider for one in fallbacks} | ({provider} if provider else set())
    for name in sorted(named):
        try:
            TypeAdapter(ProviderName).validate_python(name)
        except ValidationError:
            raise InvalidRequestError(
                "This is no provider's name.", hint="Name one of IBEX_PROVIDERS, or 'default'."
            ) from None
        if name not in known:
            sys.stderr.write(
                f"ibex: IBEX_PROVIDERS has no {name} here; a proxy without it cannot ask it.\n"
            )
