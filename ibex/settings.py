"""Every setting of every process: typed, frozen, read once.

Later sources win: the defaults below, `$IBEX_HOME/secrets.env` (made by the first `ibex up`),
`.env` in the working directory, the environment. A part with its own URL is never started from a
wheel: `IBEX_REDIS_URL=redis://…` and `ibex up` uses that server.
"""

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from ibex.checks.catalogue import Name, Severity
from ibex.errors import ConfigurationError
from ibex.policy import DEFAULT_PROVIDER
from ibex.providers import ProviderName, ProviderSettings, plain_base_url

SECRETS_FILE = "secrets.env"
DEFAULT_EMBEDDING_MODEL = "all-MiniLM-L6-v2"  # comes with IBEX
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
PromptName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,49}$")]
Days = Annotated[int, Field(ge=0, le=36_500)]
Price = Annotated[Decimal, Field(ge=0, le=10**6, allow_inf_nan=False)]
Rate = Annotated[int, Field(ge=0, le=10**12)]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="IBEX_", extra="ignore", frozen=True, populate_by_name=True
    )

    # --- where things are ---
    home: Path = Field(Path(".ibex"), description="Data, logs and secrets of the embedded stack.")
    host: str = Field("127.0.0.1", description="Address the services listen on.")
    proxy_port: Port = Field(8080, description="The OpenAI-compatible proxy.")
    api_port: Port = Field(8081, description="The management API.")
    embedder_port: Port = Field(8090, description="The embedding service.")
    embedder_frames_port: Port = Field(
        8091, description="The vectors of questions by frames, what the assembler asks first."
    )
    assembler_port: Port = Field(50051, description="The assembler's gRPC.")
    assembler_metrics_port: Port = Field(
        50052, description="The assembler's /health, /ready and /metrics, HTTP."
    )
    assembler_frames_port: Port = Field(
        50053, description="The assembler's contexts by frames, what the proxy asks first."
    )
    dashboard_port: Port = Field(8501, description="The operator dashboard.")
    dagster_port: Port = Field(3000, description="Dagster's web server.")
    dagster_code_port: Port = Field(4266, description="Dagster's code server, gRPC.")
    sandbox_port: Port = Field(8070, description="The sandbox model server.")
    postgres_port: Port = Field(5433, description="The embedded PostgreSQL.")
    redis_port: Port = Field(6380, description="The embedded Redis.")
    s3_port: Port = Field(9000, description="The embedded S3.")
    clickhouse_port: Port = Field(8123, description="The embedded ClickHouse.")

    # --- servers of your own instead of the embedded ones ---
    database_url: str | None = Field(
        None,
        description="PostgreSQL as the application's role, postgresql://user:password@host/db.",
    )
    database_admin_url: str | None = Field(
        None, description="The same database as a superuser, for 'ibex db migrate' only."
    )
    dagster_database_url: str | None = Field(
        None, description="PostgreSQL for Dagster's own run and event storage."
    )
    redis_url: str | None = Field(None, description="Redis, redis://[:password@]host:port/db.")
    s3_url: str | None = Field(None, description="S3 endpoint, http(s)://host:port.")
    clickhouse_url: str | None = Field(
        None, description="ClickHouse's HTTP interface, http(s)://user:password@host:port."
    )
    embedder_url: str | None = Field(None, description="The embedding service, http://host:port.")
    embedder_frames_address: str | None = Field(
        None,
        description="The same service's frames, host:port: a question costs less than by HTTP.",
    )
    assembler_address: str | None = Field(None, description="The assembler, host:port.")
    assembler_frames_address: str | None = Field(
        None,
        description="The same assembler's frames, host:port: contexts come a millisecond sooner "
        "than by gRPC.",
    )
    api_url: str | None = Field(None, description="The management API, http://host:port.")
    dashboard_url: str | None = Field(
        None, description="The dashboard as operators reach it: links in Dagster lead there."
    )

    # --- secrets (made by the first 'ibex up' for the embedded servers) ---
    postgres_password: SecretStr = Field(SecretStr(""), description="The embedded superuser's.")
    postgres_app_password: SecretStr = Field(SecretStr(""), description="The role ibex_app's.")
    postgres_dagster_password: SecretStr = Field(SecretStr(""), description="The role dagster's.")
    redis_password: SecretStr = Field(SecretStr(""), description="The embedded Redis's.")
    s3_access_key: str = Field("ibex", description="S3 access key.")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="S3 secret key.")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="The embedded ClickHouse's.")

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

    @field_validator("home", "spool_dir")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        return folder.expanduser().resolve() if folder else None

    @field_validator(
        "provider_base_url",
        "s3_url",
        "embedder_url",
        "api_url",
        "clickhouse_url",
        "dashboard_url",
    )
    @classmethod
    def _http_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url.rstrip("/") if url else None

    @field_validator("assembler_address", "assembler_frames_address", "embedder_frames_address")
    @classmethod
    def _host_and_port(cls, address: str | None) -> str | None:
        if address is None or re.fullmatch(r"(?:[^\s:/]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}", address):
            return address
        raise ValueError("must be host:port")

    @field_validator("provider_base_url")
    @classmethod
    def _plain_provider_url(cls, url: str | None) -> str | None:
        return plain_base_url(url) if url else None

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
    def app_dsn(self) -> str:
        """PostgreSQL as the role `ibex_app`, which row-level security binds."""
        return self.database_url or self._embedded_dsn(
            "ibex_app", self.postgres_app_password, "ibex"
        )

    @property
    def admin_dsn(self) -> str:
        """PostgreSQL as a superuser; only the migrations use it."""
        if self.database_admin_url:
            return self.database_admin_url
        if self.database_url:
            raise ConfigurationError(
                "IBEX_DATABASE_URL is set, but not IBEX_DATABASE_ADMIN_URL.",
                hint="Migrations need a role that may create roles and the vector extension.",
            )
        return self._embedded_dsn("postgres", self.postgres_password, "ibex")

    @property
    def spool_folder(self) -> Path:
        return self.spool_dir or self.home / "spool"

    @property
    def dagster_dsn(self) -> str:
        return self.dagster_database_url or self._embedded_dsn(
            "dagster", self.postgres_dagster_password, "dagster"
        )

    @property
    def redis_dsn(self) -> str:
        password = quote(self.redis_password.get_secret_value())
        return self.redis_url or f"redis://:{password}@127.0.0.1:{self.redis_port}/0"

    @property
    def s3_endpoint(self) -> str:
        return self.s3_url or f"http://127.0.0.1:{self.s3_port}"

    @property
    def clickhouse_endpoint(self) -> str:
        password = quote(self.clickhouse_password.get_secret_value())
        return self.clickhouse_url or f"http://ibex:{password}@127.0.0.1:{self.clickhouse_port}"

    @property
    def embedder_endpoint(self) -> str:
        return self.embedder_url or f"http://127.0.0.1:{self.embedder_port}"

    @property
    def embedder_frames_target(self) -> str | None:
        """None: the vectors of questions are asked for by HTTP."""
        if self.embedder_frames_address is None and self.embedder_url is None:
            return f"127.0.0.1:{self.embedder_frames_port}"
        return self.embedder_frames_address

    @property
    def assembler_target(self) -> str:
        return self.assembler_address or f"127.0.0.1:{self.assembler_port}"

    @property
    def assembler_frames_target(self) -> str | None:
        """None: contexts are asked for by gRPC."""
        if self.assembler_frames_address is None and self.assembler_address is None:
            return f"127.0.0.1:{self.assembler_frames_port}"
        return self.assembler_frames_address

    @property
    def api_endpoint(self) -> str:
        return self.api_url or f"http://127.0.0.1:{self.api_port}"

    @property
    def dashboard_endpoint(self) -> str:
        return self.dashboard_url or f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def proxy_endpoint(self) -> str:
        return f"http://127.0.0.1:{self.proxy_port}"

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

    def _embedded_dsn(self, user: str, password: SecretStr, database: str) -> str:
        secret = quote(password.get_secret_value(), safe="")
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.postgres_port}/{database}"


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
