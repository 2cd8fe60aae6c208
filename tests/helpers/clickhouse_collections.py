"""Named collections for the stand-in: chDB before 26.7 reads none from its configuration file."""

import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path

READS_ITS_OWN = (26, 7)

# As the loader writes it; other forms would fail, since the engine knows no such collection.
CALL = re.compile(
    rb"s3\(\{(?P<name>\w+):Identifier\}, filename = (?P<file>\{\w+:String\}), "
    rb"format = (?P<format>'\w+')(, structure = (?P<structure>'[^']*'))?"
    rb"(, compression_method = (?P<compression>\{\w+:String\}))?\)"
)


def read(config_file: str | Path) -> dict[str, dict[str, str]]:
    """The collections of a configuration file: their members, by name."""
    found = ET.parse(config_file).getroot().find("named_collections")
    return {
        collection.tag: {
            member.tag: os.environ[member.get("from_env")]
            if member.get("from_env")
            else member.text or ""
            for member in collection
        }
        for collection in (found if found is not None else ())
    }


def write_out(
    sql: bytes, parameters: dict[str, str], collections: dict[str, dict[str, str]]
) -> bytes:
    """The statement, with a collection's members instead of its name."""

    def replace(call: re.Match[bytes]) -> bytes:
        members = collections.get(parameters.get(call["name"].decode(), ""))
        if members is None:
            return call[0]
        names = ("access_key_id", "secret_access_key", "session_token")
        keys = [f"'{members[name]}'".encode() for name in names if name in members]
        url = b"concat('%s', %s)" % (members["url"].encode(), call["file"])
        more = [part for part in (call["structure"], call["compression"]) if part]
        return b"s3(%s)" % b", ".join([url, *(keys or [b"NOSIGN"]), call["format"], *more])

    return CALL.sub(replace, sql)
