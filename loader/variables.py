"""Read the values of environment variables and check them; `loader.settings` says what they mean.

A value that is not accepted raises SettingsError: the message names the variable and what is
accepted, and quotes the value unless it may contain a secret. `default` is the value of a variable
that is not set or empty.
"""

import re
from collections.abc import Mapping

from loader.errors import SettingsError

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CLUSTER = re.compile(r"[A-Za-z0-9_{}.-]{1,128}")
_HOST = re.compile(r"[A-Za-z0-9._:%\[\]-]{1,255}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}")
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9+=,.@:/_-]{2,1224}")
_URL = re.compile(r"https?://[A-Za-z0-9._:%\[\]-]+")
_QUEUE_URL = re.compile(rf"{_URL.pattern}(/[A-Za-z0-9._/-]*)?")


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def one_of(env: Mapping[str, str], name: str, accepted: tuple[str, ...]) -> str:
    """One of the accepted values; the first one is the default."""
    value = env.get(name) or accepted[0]
    if value not in accepted:
        raise SettingsError(f"{name} is {value!r}; accepted: {', '.join(accepted)}")
    return value


def flag(env: Mapping[str, str], name: str) -> bool:
    """Whether the value is true; not set is false."""
    value = env.get(name, "").lower()
    if value not in _TRUE + _FALSE:
        raise SettingsError(f"{name} is {value!r}; accepted: true, false")
    return value in _TRUE


def port(env: Mapping[str, str], name: str, default: int) -> int:
    """A port."""
    value = env.get(name) or str(default)
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 65536:
        raise SettingsError(f"{name} is {value!r}; accepted: a port from 1 to 65535")
    return int(value)


def number(env: Mapping[str, str], name: str, default: int, accepted: range, unit: str) -> int:
    """A whole number with a unit, within a range."""
    value = env.get(name) or str(default)
    # Python refuses to convert thousands of digits.
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) not in accepted:
        first, last = accepted[0], accepted[-1]
        raise SettingsError(f"{name} is {value!r}; accepted: {unit} from {first} to {last}")
    return int(value)


def identifier(env: Mapping[str, str], name: str, default: str) -> str:
    """The name of a database or named collection."""
    value = env.get(name) or default
    if not _IDENTIFIER.fullmatch(value):
        raise SettingsError(f"{name} is {value!r}; accepted: letters, digits and underscores")
    return value


def cluster(env: Mapping[str, str], name: str, default: str) -> str:
    """The name of a cluster."""
    value = env.get(name) or default
    # ON CLUSTER takes no parameter, so the name becomes part of the SQL text. `{cluster}` is a
    # macro of the server.
    if not _CLUSTER.fullmatch(value):
        raise SettingsError(f"{name} is {value!r}; accepted: letters, digits and _ - . {{ }}")
    return value


def user(env: Mapping[str, str], name: str, default: str) -> str:
    """The name of a user."""
    value = env.get(name) or default
    # HTTP sends 'user:password'.
    if ":" in value or not value.isprintable():
        raise _refused(name, "a name without ':', in printable text")
    return value


def secret(env: Mapping[str, str], name: str) -> str:
    """A secret, which no message may quote; without the line break that a file has at its end."""
    value = env.get(name, "").removesuffix("\n").removesuffix("\r")
    if not is_utf8(value):
        raise _refused(name, "UTF-8 text")
    return value


def role(env: Mapping[str, str]) -> tuple[str, str]:
    """The role with which ClickHouse reads S3, and its external id, which no message may quote."""
    arn, external_id = env.get("XAPI_S3_ROLE_ARN", ""), env.get("XAPI_S3_EXTERNAL_ID", "")
    if arn and not _ROLE.fullmatch(arn):
        raise SettingsError(
            f"XAPI_S3_ROLE_ARN is {arn!r}; accepted: arn:aws:iam::<12 digits>:role/<name>"
        )
    if arn and env.get("XAPI_S3_COLLECTION"):
        raise SettingsError(
            "XAPI_S3_COLLECTION and XAPI_S3_ROLE_ARN are both set; accepted: one of them, because "
            "ClickHouse reads S3 either with a named collection or with a role"
        )
    if external_id and not arn:
        raise SettingsError("XAPI_S3_EXTERNAL_ID is set, but not XAPI_S3_ROLE_ARN, which it is for")
    if external_id and not _EXTERNAL_ID.fullmatch(external_id):
        raise _refused("XAPI_S3_EXTERNAL_ID", "2 to 1224 letters, digits and +=,.@:/_-")
    return arn, external_id


def is_utf8(text: str) -> bool:
    """Whether text can be encoded. An environment variable or JSON may hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def host(env: Mapping[str, str], name: str, default: str) -> str:
    """A host name or address."""
    value = env.get(name) or default
    if not _HOST.fullmatch(value):
        raise _refused(name, "a host name or an address")
    return value


def url(env: Mapping[str, str], name: str) -> str:
    """The address of an endpoint, without a slash at its end."""
    value = env.get(name, "").rstrip("/")
    if value and not _URL.fullmatch(value):
        raise _refused(name, "http(s)://host[:port]")
    return value


def queue_address(name: str, value: str) -> str:
    """The address of a queue, which is logged.

    Args:
        name: the setting or option.
        value: its value; '' if it is not given.

    Raises:
        SettingsError: it is no address, or has more than a host and a path.
    """
    if value and not _QUEUE_URL.fullmatch(value):
        raise _refused(name, "http(s)://host[:port]/account/name")
    return value


def _refused(name: str, accepted: str) -> SettingsError:
    """The error for a value that may contain a password, such as 'user:password' as a user."""
    return SettingsError(f"{name} is not accepted; accepted: {accepted} (its value is not shown)")
