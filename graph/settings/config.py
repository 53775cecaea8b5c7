"""Settings, from the environment and a `.env` file. The only reader of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.postgres.address import problem_of
from db.postgres.pool import Pooler, PoolSettings
from graph.documents.store import DocumentMode, DocumentStore, ManifestError, load_manifest
from graph.settings.issuer import IssuerSettings
from graph.settings.misspelt import misspelt
from resolvers.access.callers import Role
from resolvers.errors import InvalidInput
from resolvers.periods import time_zone
from resolvers.usage.token_budget import Limits as BudgetLimits

if TYPE_CHECKING:
    from limits import RateLimitItem

Seconds = Annotated[float, Field(gt=0, le=3600)]
Connections = Annotated[int, Field(ge=1, le=1000)]


ORIGIN = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])(?::[1-9][0-9]{0,4})?")
PREFIX = re.compile(r"(?=.{1,200}\Z)(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
"""What a path may be under which the server is seen: it goes into addresses, cookies and pages."""


class SettingsError(Exception):
    """A setting that cannot be used, in one line that names it."""


class Settings(BaseSettings):
    """Everything that can be configured. Times are in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="RUNGLASS_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("DATABASE_URL", "RUNGLASS_DATABASE_URL"),
        description="A PostgreSQL 14 or newer to use instead of the embedded one.",
    )
    data_dir: Path = Field(
        default=Path(".data"),
        validation_alias=AliasChoices("RUNGLASS_DATA_DIR", "DATA_DIR"),
        description="Where the embedded PostgreSQL keeps its data.",
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("RUNGLASS_PORT", "PORT"),
        description="The port to listen on; 0 takes a free one.",
    )
    trusted_proxies: str = Field(
        default="127.0.0.1",
        validation_alias=AliasChoices("RUNGLASS_TRUSTED_PROXIES", "FORWARDED_ALLOW_IPS"),
        description="Addresses and networks whose X-Forwarded-For and -Proto count, with commas; * is all.",
    )
    root_path: str = Field(
        default="",
        description="The path under which a proxy serves this server, such as /ops; unset, X-Forwarded-Prefix"
        " of trusted proxies counts.",
    )
    allowed_origins: str = Field(
        default="",
        description="Origins of other front ends, with commas, such as https://ops.example.com; * is each,"
        " for keys and tokens only (docs/front-ends.md).",
    )
    time_zone: str = Field(default="UTC", description="The IANA zone of days and months.")
    stored_time_zone: str | None = Field(
        default=None,
        description="The zone of times without one in tables that are adopted; unset, the database's own.",
    )
    pool_min_size: Connections = Field(default=2, description="Connections kept open by each process.")
    pool_max_size: Connections = Field(default=10, description="Most connections of each process.")
    caller_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The part of these connections, and of RUNGLASS_MAX_BODIES_BYTES, that one caller may"
        " have at once; always one connection, and one body, at least.",
    )
    pool_wait: Seconds = Field(default=5, description="How long a request waits for a connection.")
    statement_timeout: Seconds = Field(
        default=10,
        description="How long one SQL statement may run; five seconds later its connection is given up.",
    )
    connect_timeout: Seconds = Field(default=5, description="How long connecting may take.")
    pooler: Pooler = Field(
        default=Pooler.NONE,
        description="What stands between us and the database: none, or a pooler in session or transaction"
        " mode (docs/poolers.md).",
    )
    direct_database_url: str | None = Field(
        default=None,
        description="The same database past a pooler in transaction mode, for migrations and LISTEN.",
    )
    daily_tokens: int = Field(default=100_000, ge=0, description="Tokens a day may use.")
    monthly_tokens: int = Field(default=2_000_000, ge=0, description="Tokens a month may use.")
    batch_lifetime: int = Field(
        default=600, ge=1, le=86_400, description="How long an estimated batch may be confirmed."
    )
    reservation_lifetime: int = Field(
        default=86_400,
        ge=1,
        le=31_536_000,
        description="How long a job may not move before the tokens that it has reserved are given free.",
    )
    idempotency_lifetime: int = Field(
        default=86_400, ge=1, le=31_536_000, description="How long an idempotency key keeps its first result."
    )
    apps_file: Path | None = Field(
        default=None, description="The TOML file of the apps that workers call; without it they call none."
    )
    worker_concurrency: int = Field(
        default=10, ge=1, le=1000, description="How many jobs one worker process runs at once."
    )
    site_concurrency: int = Field(
        default=20, ge=1, le=10_000, description="How many jobs of one site run at once, on all workers."
    )
    worker_lease: Seconds = Field(
        default=30, description="After how long without a sign of life a worker's jobs go to another one."
    )
    worker_grace: Seconds = Field(
        default=20, description="How long a worker that is told to stop waits for the jobs it runs."
    )
    job_time_limit: float = Field(
        default=3_600,
        gt=0,
        le=604_800,
        description="How long the calls of one job may take together, whatever its apps' own times are.",
    )
    job_rescues: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="How often a job goes to another worker, because one was lost with it, before it fails.",
    )
    circuit_wait: float = Field(
        default=900,
        ge=0,
        le=604_800,
        description="How long jobs wait for an app whose circuit is open, before they end as circuit_open.",
    )
    execution_timeout: Seconds = Field(default=15, description="How long one operation may take.")
    max_head_bytes: int = Field(
        default=16_384,
        ge=1_000,
        le=1_000_000,
        description="Largest head of a request: its first line and its headers.",
    )
    head_timeout: Seconds = Field(
        default=10, description="How long the head of a request may take to arrive."
    )
    max_body_bytes: int = Field(default=4_000_000, ge=1_000, description="Largest request body.")
    max_body_values: int = Field(
        default=150_000,
        ge=1_000,
        le=10_000_000,
        description="How many JSON values a request body may hold; what stands in texts does not count.",
    )
    max_bodies_bytes: int = Field(
        default=64_000_000,
        ge=1_000_000,
        description="How many bytes of unfinished request bodies one process keeps; above it 503.",
    )
    body_timeout: Seconds = Field(
        default=30, description="How long the body of a request may take to arrive."
    )
    linger_bytes: int = Field(
        default=64_000_000,
        ge=0,
        description="How much is read on of a request that was refused, so that its client sees why.",
    )
    linger_timeout: Seconds = Field(default=5, description="How long such a request is read on.")
    drain_timeout: float = Field(
        default=5,
        ge=0,
        le=3600,
        description="How long a server that gets SIGTERM answers on, while /readyz says 503, before its port"
        " closes.",
    )
    stop_timeout: int = Field(
        default=20, ge=1, le=3600, description="How long running requests may take after the port has closed."
    )
    stalled_timeout: Seconds = Field(
        default=60, description="How long a client may take nothing of its answer before it is cut off."
    )
    max_answer_bytes: int = Field(default=16_000_000, ge=100_000, description="Largest answer.")
    max_list_text: int = Field(
        default=2_000,
        ge=100,
        le=1_000_000,
        description="Characters of a prompt, an error or other long text in a list; by an id it is whole.",
    )
    max_depth: int = Field(default=15, ge=1, le=100, description="Deepest nesting of a query's fields.")
    max_cost: int = Field(
        default=50_000, ge=100, le=10_000_000, description="Most fields that the answer to a query may hold."
    )
    max_aliases: int = Field(default=50, ge=0, le=10_000, description="Most aliases of a query.")
    max_list: int = Field(
        default=1_000, ge=1, description="Most items of a list that is sent, where the schema says no other."
    )
    max_values: int = Field(
        default=120_000,
        ge=1_000,
        description="Most values in a request's variables, each counted as often as it is used.",
    )
    max_text: int = Field(
        default=500, ge=100, description="Characters of a text that is sent, where the schema says no other."
    )
    max_report_text: int = Field(
        default=1_000_000, ge=100, description="Characters of a reported prompt, response or error message."
    )
    max_errors: int = Field(default=10, ge=1, le=1_000, description="Most errors in an answer.")
    rate_limit: str = Field(
        default="",
        description="Requests that each key, session or token may send, as in 600/minute; empty is no limit.",
    )
    budget_refusals: str = Field(
        default="5/hour",
        description="Starts that budgets whose use a caller may not read may refuse it, as in 5/hour; then it"
        " may start nothing until the period ends, as refusals would tell what is used.",
    )
    introspection: bool = Field(default=True, description="Whether callers may read the schema.")
    suggestions: bool = Field(
        default=True, description="Whether errors suggest names of the schema; never without introspection."
    )
    documents_mode: DocumentMode = Field(
        default=DocumentMode.OFF,
        description="Trusted documents: off, allow (a known hash may be sent alone) or enforce (nothing else"
        " runs).",
    )
    documents_file: Path | None = Field(
        default=None, description="The manifest: of `runglass documents build`, Apollo, codegen or gql.tada."
    )
    fast_paths: bool = Field(
        default=True,
        description="Whether operations that come again run by the compiler; off, all run by graphql-core.",
    )
    draft_statuses: bool = Field(
        default=False, description="Answer 422 and 294 where the newest GraphQL over HTTP draft does."
    )
    key_cache_seconds: float = Field(
        default=5, ge=0, le=60, description="How long a process remembers a key that it has looked up."
    )
    sign_in_lifetime: int = Field(
        default=900, ge=10, le=86_400, description="How long a sign-in link may be used."
    )
    session_lifetime: int = Field(
        default=43_200, ge=60, le=2_592_000, description="How long a browser stays signed in."
    )
    jwt_issuer: str | None = Field(
        default=None, description="The OIDC issuer whose tokens count; unset, only keys do."
    )
    jwt_audience: str | None = Field(default=None, description="The audience that a token must name.")
    jwt_keys_url: str | None = Field(
        default=None,
        pattern="^(https?|file)://",
        description="The issuer's JWKS or discovery document (http, https or file);"
        " unset, its /.well-known/openid-configuration.",
    )
    jwt_role_claim: str = Field(
        default="role", description="The claim that names the role; a path such as realm_access.roles may be."
    )
    jwt_sites_claim: str = Field(default="sites", description="The claim that lists the site ids; * is all.")
    jwt_texts_claim: str = Field(
        default="reads_texts", description="The claim that is true for whoever may read texts."
    )
    jwt_name_claim: str = Field(
        default="sub", description="The claim that names the caller in the audit log."
    )
    jwt_roles: str = Field(
        default="",
        description="Words of the role claim and their roles, such as ops=operator,admins=admin;"
        " empty, the roles' own names.",
    )
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error."
    )

    @field_validator("time_zone", "stored_time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            time_zone(value)
        except InvalidInput:
            raise ValueError("is not an IANA time zone such as Europe/Berlin") from None
        return value

    @field_validator("database_url", "direct_database_url")
    @classmethod
    def _postgres_url(cls, value: str | None) -> str | None:
        if value and not value.startswith(("postgresql://", "postgres://")) and "=" not in value:
            raise ValueError("is not a PostgreSQL address such as postgresql://user@host/database")
        if value and (problem := problem_of(value)):
            raise ValueError(problem)
        return value or None

    @field_validator("trusted_proxies")
    @classmethod
    def _known_networks(cls, value: str) -> str:
        value = value.strip()
        for network in value.split(",") if value not in ("", "*") else ():
            ip_network(network.strip())
        return value

    @field_validator("root_path")
    @classmethod
    def _known_path(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not PREFIX.fullmatch(value):
            raise ValueError("is not a path such as /ops")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _known_origins(cls, value: str) -> str:
        origins = _list_of(value)
        if "*" in origins and len(origins) > 1:
            raise ValueError("names * beside other origins; * is each already, without cookies")
        for origin in origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError("is not a list of origins such as https://ops.example.com, without a path")
        return value

    @field_validator("budget_refusals")
    @classmethod
    def _known_refusals(cls, value: str) -> str:
        if not _is_rate(value):
            raise ValueError("is not a rate such as 5/hour")
        return value

    @field_validator("rate_limit")
    @classmethod
    def _known_rate(cls, value: str) -> str:
        if value and not _is_rate(value):
            raise ValueError("is not a rate such as 600/minute")
        return value

    @field_validator("jwt_roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        _role_map(value)
        return value

    def model_post_init(self, _context: Any) -> None:
        """Reject settings that contradict each other."""
        if self.direct_database_url and self.pooler is not Pooler.TRANSACTION:
            raise SettingsError(
                "RUNGLASS_DIRECT_DATABASE_URL is set; it needs RUNGLASS_POOLER=transaction beside it"
            )
        if self.jwt_issuer and not self.jwt_audience:
            raise SettingsError("RUNGLASS_JWT_AUDIENCE is not set; RUNGLASS_JWT_ISSUER needs it")
        if self.documents_mode is DocumentMode.ENFORCE and self.documents_file is None:
            raise SettingsError(
                "RUNGLASS_DOCUMENTS_FILE is not set; RUNGLASS_DOCUMENTS_MODE=enforce needs it"
            )
        if self.documents_mode is DocumentMode.OFF and self.documents_file is not None:
            raise SettingsError(
                "RUNGLASS_DOCUMENTS_MODE is off; RUNGLASS_DOCUMENTS_FILE needs allow or enforce"
            )
        if self.pool_min_size > self.pool_max_size:
            raise SettingsError("RUNGLASS_POOL_MIN_SIZE is larger than RUNGLASS_POOL_MAX_SIZE")

    @property
    def dsn(self) -> str:
        """The address of the database. Raises SettingsError where none is set."""
        if self.database_url is None:
            raise SettingsError("DATABASE_URL is not set; `runglass serve` starts an embedded PostgreSQL")
        return self.database_url

    @property
    def session_dsn(self) -> str:
        """The address for what goes on long in one session, such as migrations."""
        return self.direct_database_url or self.dsn

    @property
    def pool(self) -> PoolSettings:
        """The pool's part of the settings."""
        return PoolSettings(
            min_size=self.pool_min_size,
            max_size=self.pool_max_size,
            wait_seconds=self.pool_wait,
            statement_seconds=self.statement_timeout,
            connect_seconds=self.connect_timeout,
            longest_text=self.max_list_text,
            # With room for what else an answer holds.
            most_text=self.max_answer_bytes // 2,
            pooler=self.pooler,
            direct_dsn=self.direct_database_url,
        )

    @property
    def origins(self) -> frozenset[str]:
        """The origins of other front ends; `*` is each."""
        return frozenset(_list_of(self.allowed_origins))

    @property
    def cookie_origins(self) -> frozenset[str]:
        """The origins whose pages may also use the session of a browser."""
        return self.origins - {"*"}

    @property
    def share_of_pool(self) -> int:
        """How many connections one caller may have at once."""
        return max(1, int(self.pool_max_size * self.caller_share))

    @property
    def share_of_bodies(self) -> int:
        """How many bytes of unfinished bodies one caller may have in one process."""
        return max(self.max_body_bytes, int(self.max_bodies_bytes * self.caller_share))

    @property
    def rate(self) -> RateLimitItem | None:
        """How many requests one caller may send, if that is limited."""
        return _parse_rate(self.rate_limit) if self.rate_limit else None

    @cached_property
    def refusal_rate(self) -> RateLimitItem:
        """How often budgets whose use a caller may not read may refuse it."""
        return _parse_rate(self.budget_refusals)

    @property
    def documents(self) -> DocumentStore:
        """The trusted documents. Raises SettingsError for a manifest that cannot be used."""
        if self.documents_file is None:
            return DocumentStore(self.documents_mode)
        try:
            return DocumentStore(self.documents_mode, load_manifest(self.documents_file))
        except ManifestError as error:
            raise SettingsError(f"RUNGLASS_DOCUMENTS_FILE: {error}") from None

    @property
    def issuer(self) -> IssuerSettings | None:
        """Whose tokens count, if any do."""
        if not self.jwt_issuer or not self.jwt_audience:
            return None
        discovery = self.jwt_issuer.rstrip("/") + "/.well-known/openid-configuration"
        return IssuerSettings(
            issuer=self.jwt_issuer,
            audience=self.jwt_audience,
            keys_url=self.jwt_keys_url or discovery,
            role_claim=self.jwt_role_claim,
            sites_claim=self.jwt_sites_claim,
            texts_claim=self.jwt_texts_claim,
            name_claim=self.jwt_name_claim,
            roles=_role_map(self.jwt_roles),
        )

    @property
    def budget_limits(self) -> BudgetLimits:
        """The configured limits of tokens."""
        return BudgetLimits(self.daily_tokens, self.monthly_tokens)


def _list_of(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _parse_rate(text: str) -> RateLimitItem:
    # Imported late: a server has no limit by itself, and starting must be quick.
    from limits import parse

    return parse(text)


def _is_rate(text: str) -> bool:
    try:
        return _parse_rate(text).amount > 0
    except ValueError:
        return False


def _role_map(text: str) -> dict[str, Role] | None:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    try:
        return {word.strip(): Role(role.strip()) for word, _, role in pairs} or None
    except ValueError:
        raise ValueError(
            "is not a list such as ops=operator,admins=admin of viewer, operator, admin"
        ) from None


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; keyword arguments go before it.

    Raises SettingsError, in one line, for the first value that cannot be used.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{_variable(str(first['loc'][0]))}: {message}") from None


# Tokens that the made-up retailer of the demo data stays within on most days.
_DEMO_BUDGET = {"daily_tokens": 4_000_000, "monthly_tokens": 100_000_000}


def with_demo_budget(settings: Settings) -> Settings:
    """The settings with token limits that fit the demo data, where none are configured."""
    unset = {name: value for name, value in _DEMO_BUDGET.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=unset)


def variable_name(field: str) -> str:
    """The environment variable of a field."""
    return "DATABASE_URL" if field == "database_url" else f"RUNGLASS_{field.upper()}"


def environment() -> Mapping[str, str]:
    """The environment, for the secrets that the apps file names."""
    return os.environ


# Read elsewhere than here: by the demo's own apps.
_OTHER_NAMES = ("RUNGLASS_DEMO_APPS_SECRET",)


def unknown_variables(apps_file: Path | None) -> list[str]:
    """One line for each variable of the environment and of `.env` that looks like a setting and is none.

    Variables that the apps file names as secrets are no settings, and right.
    """
    from dotenv import dotenv_values

    known = {each.upper() for name, field in Settings.model_fields.items() for each in _names(name, field)}
    secrets = apps_file.read_text("utf-8", "replace") if apps_file and apps_file.is_file() else ""
    given = [name for name in {**os.environ, **dotenv_values(".env")} if f'"{name}"' not in secrets]
    return misspelt(given, known.union(_OTHER_NAMES))


def _names(name: str, field: FieldInfo) -> list[str]:
    """Every variable that sets a field."""
    alias = field.validation_alias
    aliases = alias.choices if isinstance(alias, AliasChoices) else []
    return [variable_name(name), *(choice for choice in aliases if isinstance(choice, str))]


def _variable(location: str) -> str:
    """The variable that an error is about; its location is a field or an alias of one."""
    by_alias = {"DATABASE_URL": "database_url", "PORT": "port", "DATA_DIR": "data_dir"}
    name = by_alias.get(location, location)
    return variable_name(name) if name in Settings.model_fields else location


def pass_on(settings: Settings) -> None:
    """Hand settings on to the processes that this one starts."""
    for name in settings.model_fields_set | {"database_url"}:
        value = getattr(settings, name)
        if value is not None:
            os.environ[variable_name(name)] = str(value)
