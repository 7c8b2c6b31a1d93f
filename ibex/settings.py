"""Every setting of every process: typed, frozen, read once.

Later sources win: the defaults below, `$IBEX_HOME/secrets.env` (made by the first `ibex up`),
`.env` in the working directory, the environment. A part with its own URL is never started from a
wheel: `IBEX_REDIS_URL=redis://…` and `ibex up` uses that server.
"""

import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_settings import SettingsError

from ibex.checks.catalogue import Name, Severity
from ibex.errors import ConfigurationError
from ibex.policy import DEFAULT_PROVIDER
from ibex.providers import ProviderName, ProviderSettings, plain_base_url
from ibex.settings_places import Places, absolute, http_url

SECRETS_FILE = "secrets.env"
DEFAULT_EMBEDDING_MODEL = "all-MiniLM-L6-v2"  # comes with IBEX
Seconds = Annotated[float, Field(gt=0)]
PromptName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,49}$")]
Days = Annotated[int, Field(ge=0, le=36_500)]
Price = Annotated[Decimal, Field(ge=0, le=10**6, allow_inf_nan=False)]
Rate = Annotated[int, Field(ge=0, le=10**12)]


class Settings(Places):
    # --- the model ---
    provider_base_url: str | None = Field(
        None, description="Any OpenAI-compatible server, ending in /v1. Default: OpenAI with a key."
    )
    provider_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("IBEX_PROVIDER_API_KEY", "OPENAI_API_KEY"),
        description="The provider's key; OPENAI_API_KEY works too. Without: the sandbox model.",
    )
    provider_allow_private: bool = Field(
        False, description="The provider's name may resolve to an address of a private network."
    )
    providers: dict[ProviderName, ProviderSettings] = Field(
        {},
        description='More providers, JSON: {"name": {"base_url": "https://…/v1", "api_key": "…" or '
        '"api_key_file": "/run/secrets/…", "allow_private": false}}.',
    )
    provider_circuit_failures: int = Field(
        5, ge=1, description="Failures in a row after which a provider is left alone."
    )
    provider_circuit_pause: Seconds = Field(10.0, description="How long it is left alone, s.")
    default_model: str = Field("gpt-4o-mini", description="Model of an agent without a policy.")
    extraction_model: str = Field("gpt-4o-mini", description="Model that turns turns into facts.")
    extraction_prompt: str = Field("v1", description="What it is told, by name.")
    extraction_prompts: dict[PromptName, Path] = Field(
        {}, description='More such texts, also in the place of IBEX\'s own: {"name": "/its/file"}.'
    )
    backfill_grace_days: float = Field(
        7.0, gt=0, description="A switched backfill can be reverted for this long, d."
    )
    conflict_questions: int = Field(
        20, ge=0, description="Undecided pairs of an agent and user put to the model in one run."
    )
    extraction_timeout: Seconds = Field(60.0, description="Limit for one extraction call, s.")
    extraction_max_attempts: int = Field(3, ge=1, description="Tries before a dead letter.")
    extraction_backoff: Seconds = Field(5.0, description="Wait after the first failed try, s.")
    extraction_patience: Seconds = Field(
        86_400.0,
        description="How long a model or embedder that is away costs a session no try, s.",
    )
    extraction_lease: Seconds = Field(120.0, description="How long a claim of a session holds, s.")
    promotion_users: int = Field(
        3, ge=0, description="Users who must say a fact before it is the agent's own; 0: never."
    )
    extraction_concurrency: int = Field(
        4, ge=1, description="Model calls at once, of all runs together."
    )
    extraction_requests_per_minute: Rate = Field(
        0, description="Model calls of all runs together a minute; 0: any."
    )
    extraction_tokens_per_minute: Rate = Field(0, description="Their tokens a minute; 0: any.")
    model_prices: dict[str, tuple[Price, Price]] = Field(
        {},
        description="US dollars per million tokens in and out by prefix of a model's name, JSON: "
        '{"my-model": [0.15, 0.6]}.',
    )

    # --- the proxy ---
    assembly_timeout_ms: float = Field(45.0, gt=0, description="The proxy's limit for context, ms.")
    max_body_bytes: int = Field(20 * 2**20, ge=1024, description="Largest request body, bytes.")
    upstream_connect_timeout: Seconds = Field(10.0, description="To the provider, s.")
    upstream_idle_timeout: Seconds = Field(120.0, description="Silence of the provider, s.")
    auth_cache_ttl: Seconds = Field(30.0, description="How long a verified token is kept, s.")
    proxy_workers: int = Field(1, ge=1, description="Worker processes of the proxy.")
    spool_dir: Path | None = Field(
        None, description="Turns wait here while PostgreSQL is away. Default: $IBEX_HOME/spool."
    )
    spool_max_bytes: int = Field(256 * 2**20, ge=2**16, description="Size of the spool, bytes.")
    session_idle: Seconds = Field(900.0, description="A silent session completes after this, s.")
    idempotency_days: int = Field(
        30, ge=1, description="How long a request that was sent again is noted, d."
    )

    # --- rate limits; what an organization, agent or token has of its own counts instead ---
    rate_limit_token_requests: Rate = Field(0, description="A token's requests a minute; 0: any.")
    rate_limit_token_tokens: Rate = Field(0, description="A token's model tokens a minute.")
    rate_limit_agent_requests: Rate = Field(0, description="An agent's requests a minute.")
    rate_limit_agent_tokens: Rate = Field(0, description="An agent's model tokens a minute.")
    rate_limit_organization_requests: Rate = Field(0, description="All its requests a minute.")
    rate_limit_organization_tokens: Rate = Field(0, description="All its model tokens a minute.")
    rate_limit_answer_tokens: int = Field(
        500, ge=1, description="Reserved for an answer when the client sets no max_tokens."
    )
    rate_limit_timeout_ms: float = Field(
        20.0, gt=0, description="Wait for Redis before a process limits alone, ms."
    )

    # --- assembly ---
    retrieval_deadline_ms: float = Field(40.0, gt=0, description="Directive, hot and cold, ms.")
    index_max_bytes: int = Field(
        512 * 2**20, ge=0, description="Agents' memories held in the assembler, bytes; 0: none."
    )
    memory_token_budget: int = Field(2000, ge=0, description="Memory tokens of one session.")
    pinned_memory_share: float = Field(
        0.6, gt=0, le=1, description="Share of them that a session may start with."
    )
    later_memory_tokens: int = Field(
        300, ge=0, description="Memory tokens that a later request may add."
    )
    answer_token_reserve: int = Field(4096, ge=0, description="Tokens kept for the answer.")
    context_windows: dict[str, Annotated[int, Field(ge=1)]] = Field(
        {}, description='Tokens by prefix of a model\'s name, JSON: {"my-model": 32768}.'
    )

    # --- pipeline ---
    embedding_model: str = Field(
        DEFAULT_EMBEDDING_MODEL,
        description="Model that is served: the embedder's, and the one whose vectors are searched.",
    )
    embedding_models: dict[str, Path] = Field(
        {}, description='More models of 384 dimensions, JSON: {"my-model": "/its/folder"}.'
    )
    embedding_backend: Literal["auto", "onnx", "torch"] = Field(
        "auto", description="Runs the model; auto: torch where it has a GPU, else onnx."
    )
    sensor_interval: int = Field(5, ge=1, description="Tick of the session sensor, s.")
    dagster_run_days: int = Field(
        30, ge=1, description="How long Dagster's runs and their events are kept, d."
    )
    dagster_tick_days: int = Field(
        7, ge=1, description="How long the ticks of its sensors and schedules are kept, d."
    )
    sessions_per_run: int = Field(200, ge=1, description="Sessions one run claims at most.")
    usefulness_interval: int = Field(
        60, ge=1, description="Answers are looked at for what they rest on this often, s."
    )
    answers_per_run: int = Field(
        10_000, ge=1, description="Answers of an organization that one run looks at, at most."
    )
    sessions_bucket: str = Field("ibex-sessions", description="Bucket of the session archives.")
    lake_bucket: str = Field("ibex-lake", description="Bucket of the Parquet lake.")
    lake_grace_hours: float = Field(
        24, ge=0, description="How long files that were replaced stay for whoever reads them, h."
    )
    snapshot_days: int = Field(
        30, ge=1, description="How long each day's snapshot of the memories is kept, d."
    )
    snapshot_months: int = Field(
        12, ge=0, description="How long each month's first snapshot is kept, months."
    )
    turn_content_days: int = Field(
        7,
        ge=0,
        le=36_500,
        description="How long what was said stays in PostgreSQL once it is archived, d; 0: no day.",
    )
    orphan_hours: int = Field(
        24, ge=1, description="How old an object without an entry in the manifest gets, h."
    )

    # --- SQL over the lake ---
    sql_memory_mb: int = Field(
        1024, ge=64, description="Memory of one 'ibex sql'; what is more goes to disk, MB."
    )
    sql_timeout: Seconds = Field(300.0, description="A query is stopped after this, s.")
    sql_http_timeout: int = Field(
        30, ge=1, description="Silence of the object store after which a query fails, s."
    )

    # --- forgetting; what an organization or an agent has of its own counts instead ---
    retention_procedural_days: Days = Field(
        0, description="How long procedural memories are kept after they were last said, d; 0: any."
    )
    retention_declarative_days: Days = Field(0, description="The same for declarative ones, d.")
    retention_episodic_days: Days = Field(0, description="The same for episodic ones, d.")
    memory_limit_agent: int = Field(
        0, ge=0, le=10**9, description="Memories of an agent; the least valuable go. 0: any."
    )
    memory_limit_organization: int = Field(
        0, ge=0, le=10**9, description="Memories of all its agents together."
    )

    # --- checks ---
    check_sample: int = Field(
        200, ge=1, description="Memories of an organization that a check looks at, at most."
    )
    check_lists: int = Field(20, ge=1, description="Hot lists of it that are compared, at most.")
    check_archives: int = Field(20, ge=1, description="Archives of it that are read, at most.")
    check_seconds: Seconds = Field(
        120.0, description="One check over all organizations; the rest is first the next hour, s."
    )
    check_thresholds: dict[Name, Annotated[float, Field(ge=0)]] = Field(
        {}, description='The largest value that passes, by check, JSON: {"junk_rate": 0.05}.'
    )
    check_severities: dict[Name, Severity] = Field(
        {}, description='What a failure is, by check, JSON: {"dead_letters": "error"}; or "warn".'
    )
    check_result_days: int = Field(
        90, ge=1, description="How long results of checks that have changed since are kept, d."
    )

    # --- watching ---
    metrics_token: SecretStr | None = Field(
        None, description="Bearer token that /metrics asks for. Default: everybody may read it."
    )
    trace_provider: bool = Field(
        False, description="Send the trace's id (traceparent) to the model's server too."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Of every service."
    )

    @field_validator("spool_dir")
    @classmethod
    def _absolute_spool(cls, folder: Path | None) -> Path | None:
        return absolute(folder) if folder else None

    @field_validator("provider_base_url")
    @classmethod
    def _plain_provider_url(cls, url: str | None) -> str | None:
        return plain_base_url(http_url(url)) if url else None

    @field_validator("providers")
    @classmethod
    def _default_is_apart(
        cls, providers: dict[str, ProviderSettings]
    ) -> dict[str, ProviderSettings]:
        if DEFAULT_PROVIDER in providers:
            raise ValueError("'default' is set by IBEX_PROVIDER_BASE_URL and IBEX_PROVIDER_API_KEY")
        return providers

    # --- what follows from the settings ---
    @property
    def spool_folder(self) -> Path:
        return self.spool_dir or self.home / "spool"

    @property
    def uses_sandbox(self) -> bool:
        """No provider is configured: the sandbox model server answers."""
        return self.provider_base_url is None and self.provider_api_key is None

    @property
    def provider_url(self) -> str:
        """Base URL of the model's server, ending in `/v1`."""
        if self.provider_base_url:
            return self.provider_base_url
        if self.provider_api_key:
            return "https://api.openai.com/v1"
        return f"http://127.0.0.1:{self.sandbox_port}/v1"

    @property
    def provider_key(self) -> str:
        return self.provider_api_key.get_secret_value() if self.provider_api_key else "sandbox"


def load_settings() -> Settings:
    """Read the settings. Raises ConfigurationError with one sentence for each wrong one."""
    home = Path(os.environ.get("IBEX_HOME", ".ibex")).expanduser()
    try:
        return Settings(_env_file=(home / SECRETS_FILE, ".env"))
    except ValidationError as error:
        wrong = "; ".join(
            f"IBEX_{str(item['loc'][0]).upper().removeprefix('IBEX_')}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"A setting is wrong: {wrong}.") from None
    except SettingsError as error:
        # Its cause quotes the value, its own text does not.
        raise ConfigurationError(f"A setting is not valid JSON: {error}.") from None
