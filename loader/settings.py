"""The settings, read from the environment once."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from loader import variables
from loader.errors import SettingsError

TARGETS = ("embedded", "server", "cluster")
ETL_MODES = ("direct", "lambda", "s3")
POLICIES = ("append", "replace", "ignore")
LOG_LEVELS = ("INFO", "DEBUG", "WARNING", "ERROR")

# The folder that contains this package: the checkout, unless a copy is installed elsewhere.
CHECKOUT = Path(__file__).resolve().parent.parent

# Settings begin with these. The engine's configuration and the tests have variables of their own.
_PREFIXES = ("XAPI_", "CLICKHOUSE_", "S3_XAPI_")
_NOT_OURS = {
    *("XAPI_EMBEDDED_S3_URL", "XAPI_EMBEDDED_ACCESS_KEY_ID", "XAPI_EMBEDDED_SECRET_ACCESS_KEY"),
    *("XAPI_EMBEDDED_SESSION_TOKEN", "XAPI_TEST_ENGINE", "XAPI_SHARED_DATA", "XAPI_CHAOS"),
}


@dataclass(frozen=True)
class Settings:
    """The settings of the loader and the Lambda; profiles.yml reads the same variables.

    `repr` omits passwords and the external id.

    Attributes:
        home: folder of the dbt project; relative paths are below it.
        target: embedded, server or cluster.
        chdb_path: folder of the embedded database.
        host: host of ClickHouse's HTTP interface.
        port: its port.
        user: ClickHouse user.
        password: its password.
        secure: whether to use HTTPS.
        database: ClickHouse database of the models; raw data is in `<database>_raw`.
        cluster: name of the cluster; used by target cluster.
        etl_mode: how a producer sends statements: direct, lambda or s3.
        lambda_function: the function that a producer invokes.
        bucket: the bucket that a producer writes to and that bulk requests load; '' if not set.
        allowed_buckets: the only buckets that may be loaded.
        s3_collection: ClickHouse's named collection with the credentials for S3.
        s3_role_arn: instead of a collection, the role that ClickHouse assumes to read S3.
        s3_external_id: the external id that the role requires; '' if none.
        s3_endpoint: address of S3; '' for that of AWS.
        region: AWS region.
        queue_url: queue of notifications; '' if not set.
        environment: dimension of the metrics.
        log_level: least severe level that is logged.
        secret_arn: secret with the password; '' if the password is a setting.
        dbt_user: ClickHouse user that dbt connects as.
        dbt_password: its password.
        dbt_secret_arn: secret with that password; '' if the password is a setting.
        retry_seconds: seconds before the second attempt at a failed message.
        key_prefix: beginning of the keys that may be loaded; '' for all.
        stack: value of the metrics' dimension Stack; '' for none.
        load_memory_mb: memory in MiB that one statement of a load may use in ClickHouse.
        report_min_group: a group of fewer learners is not broken down on a page.
    """

    home: str = ""
    target: str = "embedded"
    chdb_path: str = ".data/clickhouse"
    host: str = "localhost"
    port: int = 8123
    user: str = "default"
    password: str = field(default="", repr=False)
    secure: bool = False
    database: str = "xapi"
    cluster: str = "default"
    etl_mode: str = "direct"
    lambda_function: str = "xapi-elt"
    bucket: str = ""
    allowed_buckets: tuple[str, ...] = ()
    s3_collection: str = "xapi_s3"
    s3_role_arn: str = ""
    s3_external_id: str = field(default="", repr=False)
    s3_endpoint: str = ""
    region: str = "us-east-1"
    queue_url: str = ""
    key_prefix: str = ""
    environment: str = "dev"
    stack: str = ""
    log_level: str = "INFO"
    secret_arn: str = ""
    dbt_user: str = "default"
    dbt_password: str = field(default="", repr=False)
    dbt_secret_arn: str = ""
    retry_seconds: int = 60
    load_memory_mb: int = 2048
    report_min_group: int = 5

    @property
    def raw_database(self) -> str:
        """The database that the loader writes to: tables `statements` and `loads`."""
        return f"{self.database}_raw"

    @property
    def analysts_database(self) -> str:
        """The database of analysts: views without identifiers, and which sections they may see."""
        return f"{self.database}_analyst"

    @property
    def place(self) -> str:
        """Which ClickHouse this is, for messages: a folder, or host and port."""
        return self.chdb_path if self.target == "embedded" else f"{self.host}:{self.port}"

    @property
    def s3_url(self) -> str:
        """Base URL of the S3 endpoint that ClickHouse reads from; bucket/key is appended."""
        return f"{self.s3_endpoint or f'https://s3.{self.region}.amazonaws.com'}/"

    @property
    def load_memory(self) -> int:
        """Memory in bytes that one statement of a load may use in ClickHouse."""
        return self.load_memory_mb * 1024 * 1024

    def project(self) -> Path:
        """The folder of the dbt project.

        Raises:
            SettingsError: it has no dbt_project.yml.
        """
        if not (Path(self.home) / "dbt_project.yml").is_file():
            raise SettingsError(
                f"XAPI_HOME is {self.home!r}; accepted: the folder of a checkout, which has a "
                "dbt_project.yml"
            )
        return Path(self.home)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """Read the settings.

        Args:
            env: the variables; those of the process if left out.

        Raises:
            SettingsError: a value is not accepted; names the variable and the accepted values.
        """
        env = os.environ if env is None else env
        bucket = env.get("S3_XAPI_BUCKET_NAME", "")
        allowed = variables.names(env.get("XAPI_ALLOWED_BUCKETS", ""))
        home = home_folder(env)
        user = variables.user(env, "CLICKHOUSE_USER", cls.user)
        password = variables.secret(env, "CLICKHOUSE_PASSWORD")
        secret_arn = env.get("CLICKHOUSE_PASSWORD_SECRET_ARN", "")
        role_arn, external_id = variables.role(env)
        # Each is checked, because boto3 uses them all, and errors may quote them.
        s3_endpoint = variables.url(env, "AWS_ENDPOINT_URL_S3")
        endpoint = variables.url(env, "AWS_ENDPOINT_URL")
        dbt_password = variables.secret(env, "CLICKHOUSE_DBT_PASSWORD")
        dbt_secret_arn = env.get("CLICKHOUSE_DBT_PASSWORD_SECRET_ARN", "")
        return cls(
            home=home,
            target=variables.one_of(env, "XAPI_TARGET", TARGETS),
            chdb_path=below(home, env.get("XAPI_CHDB_PATH") or cls.chdb_path),
            host=variables.host(env, "CLICKHOUSE_HOST", cls.host),
            port=variables.port(env, "CLICKHOUSE_PORT", cls.port),
            user=user,
            password=password,
            secure=variables.flag(env, "CLICKHOUSE_SECURE"),
            database=variables.identifier(env, "CLICKHOUSE_DATABASE", cls.database),
            cluster=variables.cluster(env, "CLICKHOUSE_CLUSTER", cls.cluster),
            etl_mode=variables.one_of(env, "XAPI_ETL_MODE", ETL_MODES),
            lambda_function=env.get("XAPI_LAMBDA_FUNCTION_NAME") or cls.lambda_function,
            bucket=bucket,
            allowed_buckets=allowed or ((bucket,) if bucket else ()),
            s3_collection=variables.identifier(env, "XAPI_S3_COLLECTION", cls.s3_collection),
            s3_role_arn=role_arn,
            s3_external_id=external_id,
            s3_endpoint=s3_endpoint or endpoint,
            region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or cls.region,
            queue_url=variables.queue_address(
                "XAPI_SQS_QUEUE_URL", env.get("XAPI_SQS_QUEUE_URL", "")
            ),
            key_prefix=env.get("XAPI_KEY_PREFIX", ""),
            environment=env.get("XAPI_ENVIRONMENT") or cls.environment,
            stack=env.get("XAPI_STACK", ""),
            log_level=variables.one_of(env, "XAPI_LOG_LEVEL", LOG_LEVELS),
            secret_arn=secret_arn,
            dbt_user=variables.user(env, "CLICKHOUSE_DBT_USER", user),
            dbt_password=dbt_password or password,
            dbt_secret_arn=dbt_secret_arn or ("" if dbt_password else secret_arn),
            retry_seconds=variables.number(
                env, "XAPI_RETRY_SECONDS", cls.retry_seconds, range(901), "seconds"
            ),
            load_memory_mb=variables.number(
                env, "XAPI_LOAD_MEMORY_MB", cls.load_memory_mb, range(64, 1_048_577), "MiB"
            ),
            report_min_group=variables.number(
                env, "XAPI_REPORT_MIN_GROUP", cls.report_min_group, range(1, 1001), "learners"
            ),
        )


def complaints(env: Mapping[str, str]) -> list[str]:
    """What is probably a mistake in the environment, one line each: variables that nothing reads,
    and those that have no effect beside others.

    Args:
        env: the variables, whose values are accepted.
    """
    from difflib import get_close_matches  # the Lambda needs none of it

    known = _Names()
    Settings.from_env(known)
    found = []
    for name in sorted(env):
        if name.startswith(_PREFIXES) and name not in known.read | _NOT_OURS:
            close = get_close_matches(name, known.read, 1, 0.75)
            meant = f"; did you mean {close[0]}?" if close else "; .env.example lists all settings"
            found.append(f"{name} is set, but there is no such setting{meant}")
    return [*found, *_without_effect({name for name in known.read if env.get(name)}, env)]


def _without_effect(given: set[str], env: Mapping[str, str]) -> Iterator[str]:
    """The settings that are given and have no effect beside others."""
    settings = Settings.from_env(env)
    if settings.target == "embedded":
        for name in sorted({"CLICKHOUSE_HOST", "XAPI_S3_ROLE_ARN"} & given):
            yield (
                f"{name} is set, but XAPI_TARGET is embedded, which ignores it; set "
                "XAPI_TARGET=server if a server is meant"
            )
    if settings.target == "server" and "CLICKHOUSE_CLUSTER" in given:
        yield "CLICKHOUSE_CLUSTER is set, but XAPI_TARGET is server, which ignores it"
    for name in ("CLICKHOUSE_PASSWORD", "CLICKHOUSE_DBT_PASSWORD"):
        if {name, f"{name}_SECRET_ARN"} <= given:
            yield (
                f"{name} and {name}_SECRET_ARN are both set; every xapi-elt command and the "
                "function read the secret, a plain dbt command the variable"
            )
    if settings.bucket and settings.bucket not in settings.allowed_buckets:
        yield (
            f"S3_XAPI_BUCKET_NAME is {settings.bucket!r}, which XAPI_ALLOWED_BUCKETS does not "
            "allow to be loaded"
        )


class _Names(dict[str, str]):
    """An empty environment that records which variables are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """See `dict.get`."""
        self.read.add(name)
        return default


def home_folder(env: Mapping[str, str]) -> str:
    """The folder of the dbt project and of relative paths: XAPI_HOME, else the checkout of this
    package, else the current folder.

    Args:
        env: the environment variables.

    Raises:
        SettingsError: XAPI_HOME is not an existing folder.
    """
    if home := env.get("XAPI_HOME"):
        folder = Path(home).expanduser().absolute()
        if not folder.is_dir():
            raise SettingsError(f"XAPI_HOME is {home!r}; accepted: an existing folder")
        return str(folder)
    return str(CHECKOUT if (CHECKOUT / "dbt_project.yml").is_file() else Path.cwd())


def below(folder: str, path: str) -> str:
    """Resolve the path of a setting, independent of the current folder.

    Args:
        folder: the folder of relative paths.
        path: the path; `~` is the home directory.
    """
    return str(Path(folder, Path(path).expanduser()))
