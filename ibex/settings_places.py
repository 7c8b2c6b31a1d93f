"""Where everything is: ports, servers of one's own, and the secrets of the embedded ones."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ibex.errors import ConfigurationError

Port = Annotated[int, Field(ge=1, le=65535)]


def absolute(folder: Path) -> Path:
    return folder.expanduser().resolve()


def http_url(url: str) -> str:
    """Without a slash at the end. Raises ValueError."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return url.rstrip("/")


class Places(BaseSettings):
    """The part of `ibex.settings.Settings` that says where to find each server."""

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

    @field_validator("home")
    @classmethod
    def _absolute_home(cls, home: Path) -> Path:
        return absolute(home)

    @field_validator("s3_url", "embedder_url", "api_url", "clickhouse_url", "dashboard_url")
    @classmethod
    def _http_url(cls, url: str | None) -> str | None:
        return http_url(url) if url is not None else None

    @field_validator("assembler_address", "assembler_frames_address", "embedder_frames_address")
    @classmethod
    def _host_and_port(cls, address: str | None) -> str | None:
        if address is None or re.fullmatch(r"(?:[^\s:/]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}", address):
            return address
        raise ValueError("must be host:port")

    # --- what follows from them ---
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

    def _embedded_dsn(self, user: str, password: SecretStr, database: str) -> str:
        secret = quote(password.get_secret_value(), safe="")
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.postgres_port}/{database}"
