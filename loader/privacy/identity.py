"""Who is to be erased: the forms of an identity, and the texts by which it is searched."""

import hashlib
import json
import re
from dataclasses import dataclass

from loader.errors import SettingsError

# A shorter identifier is searched only as the value of a member: '7' is in every line.
SHORTEST_TOKEN = 4

# Groups of options that name a learner; exactly one is needed.
ACCEPTED = "--user with --home-page, --mbox, --mbox-sha1sum, --openid or --learner-id; or --pending"


@dataclass(frozen=True)
class Identity:
    """One form of a learner's identity, as statements have it.

    Attributes:
        kind: account, mbox, mbox_sha1sum or openid.
        user_id: name of the account, or the other identifier.
        home_page: home page of an account.
    """

    kind: str
    user_id: str
    home_page: str = ""


def identities(
    user: str | None = None,
    home_page: str | None = None,
    mbox: str | None = None,
    mbox_sha1sum: str | None = None,
    openid: str | None = None,
) -> list[Identity]:
    """The forms of a learner's identity.

    Args:
        user: name of an account.
        home_page: its home page.
        mbox: an address, with or without mailto:.
        mbox_sha1sum: SHA-1 of an address with mailto:.
        openid: an OpenID.

    Raises:
        SettingsError: not exactly one learner is named.
    """
    named = [value for value in (user, mbox, mbox_sha1sum, openid) if value is not None]
    if len(named) != 1 or not named[0].strip() or (user is None) != (home_page is None):
        raise SettingsError(f"exactly one learner is erased at a time; accepted: {ACCEPTED}")
    if user is not None:
        return [Identity("account", user, home_page or "")]
    if mbox is not None:
        address = mbox if mbox.lower().startswith("mailto:") else f"mailto:{mbox}"
        spelled = hashlib.sha1(address.encode()).hexdigest()
        return [Identity("mbox", address), Identity("mbox_sha1sum", spelled)]
    if mbox_sha1sum is not None:
        return [Identity("mbox_sha1sum", mbox_sha1sum)]
    return [Identity("openid", openid or "")]


def texts(forms: list[Identity]) -> list[str]:
    """What a line contains that names the learner: the identifiers as they are, and as JSON has
    them."""
    found = []
    for form in forms:
        value = form.user_id
        if form.kind == "mbox":
            lowered = hashlib.sha1(value.lower().encode()).hexdigest()
            found += [*_spellings(value.partition(":")[2]), lowered]
        else:
            found += _spellings(value)
    return list(dict.fromkeys(found))


def token_pattern(values: list[str]) -> str:
    """A pattern that finds these identifiers in a text, but not within longer words. A short one is
    found only as the value of a JSON member."""
    long = [re.escape(value) for value in values if len(value) >= SHORTEST_TOKEN]
    short = [re.escape(value) for value in values if len(value) < SHORTEST_TOKEN]
    parts = [rf"(^|[^A-Za-z0-9])({'|'.join(long)})([^A-Za-z0-9]|$)"] if long else []
    parts += [_member(short)] if short else []
    return f"(?i)({'|'.join(parts)})"


def member_pattern(values: list[str]) -> str:
    """A pattern that finds these identifiers as the value of a member that names a person."""
    return f"(?i){_member([re.escape(value) for value in values])}"


def _member(escaped: list[str]) -> str:
    names = "name|mbox|mbox_sha1sum|openid"
    return rf'"({names})"\s*:\s*"?(mailto:)?({"|".join(escaped)})("|\s*[,}}]|$)'


def _spellings(value: str) -> list[str]:
    """A value as text, and within a JSON string."""
    ascii_only = json.dumps(value)[1:-1]
    written = [value, ascii_only, json.dumps(value, ensure_ascii=False)[1:-1]]
    return [*written, *(one.replace("/", "\\/") for one in written)]
