"""A cluster for the stand-in: it refuses what a cluster would not do, then strips a statement of
what one engine does not know.

What it demands of each statement:

- DDL says ON CLUSTER, or other nodes would lack it. (Changes of partitions, mutations and new
  indices of a replicated table reach the other replicas by themselves.)
- A table is replicated, under the default path or one that differs per table and shard. Tables that
  only one run reads, over one connection, may be in memory.
- A load reads with s3Cluster.
- A table that is exchanged was synchronised after the last change to it.
- The engine parses it as it is (EXPLAIN AST).

clusterAllReplicas() stays: the engine's configuration can have a cluster of one node, itself.
"""

import re
from collections.abc import Callable

from tests.helpers.clickhouse_failure import Failure

_NAME = r"(?:`[^`]+`|\"[^\"]+\"|\{\w+:Identifier\}|[\w{}-]+)"
_TABLE = rf"(?:{_NAME}\s*\.\s*)?{_NAME}"
ON_CLUSTER = re.compile(rf"\s*\bon\s+cluster\s+(?:'[^']+'|{_NAME})", re.I)
_COMMENTS = re.compile(r"/\*.*?\*/|^\s*--[^\n]*$", re.S | re.M)

DDL = re.compile(r"\s*(create|drop|rename|exchange|truncate|alter|attach|detach)\b", re.I)
# They are part of a replicated table's log. (A changed comment is not.)
REPLICATED_BY_ITSELF = re.compile(
    rf"\s*alter\s+table\s+{_TABLE}\s+"
    r"(?:(?:attach|replace|drop|move)\s+partition\b|delete\b|update\b|add\s+index\b)",
    re.I,
)
TEMPORARY = re.compile(r"\s*(?:create|drop)\s+temporary\b", re.I)
# Tables that dbt-clickhouse fills again in each run: it synchronises the old table, not the new
# one, so another replica may show fewer rows for a moment. They hold seeds, no events.
OF_THE_ADAPTER = re.compile(r"__dbt_backup")

CREATED = re.compile(
    rf"\s*create\s+(?:or\s+replace\s+)?table\s+(?:if\s+not\s+exists\s+)?(?P<table>{_TABLE})", re.I
)
ENGINE = re.compile(r"\bengine\s*=\s*(?P<engine>\w+)\s*(?P<path>\([^()]*\))?", re.I)
# What only the run itself reads, through the replica that it writes to.
IN_MEMORY = re.compile(r"elt_claim__|elt_new__|erasure_requests")

LOADS = re.compile(rf"\s*insert\s+into\s+{_NAME}\.statements\b", re.I)
S3 = re.compile(r"\bs3\s*\(", re.I)
S3_CLUSTER = re.compile(rf"\bs3Cluster\s*\(\s*{_NAME}\s*,\s*", re.I)

SYNCS = re.compile(
    rf"\s*system\s+sync\s+replica\s+on\s+cluster\s+{_NAME}\s+(?P<table>{_TABLE})", re.I
)
CHANGES = re.compile(
    rf"\s*(?:insert\s+into|alter\s+table|delete\s+from)\s+(?P<table>{_TABLE})", re.I
)
PUT_IN_PLACE = re.compile(rf"\s*(?:exchange\s+tables|rename\s+table)\s+(?P<new>{_TABLE})", re.I)
EXCHANGES = re.compile(rf"\s*exchange\s+tables\s+(?P<new>{_TABLE})\s+and\s+(?P<old>{_TABLE})", re.I)


class ClusterMode:
    """What a cluster demands, and the same statements for one engine.

    Attributes:
        refused: what was refused: the demand, and the beginning of the statement.
        seen: the first words of what was accepted with ON CLUSTER.
    """

    def __init__(self) -> None:
        self.refused: list[tuple[str, str]] = []
        self.seen: set[str] = set()
        self._synced: set[str] = set()
        self._parsed: set[str] = set()
        self._in_memory: set[str] = set()

    def local(self, sql: bytes, parse: Callable[[str], None]) -> bytes:
        """The statement for one engine.

        Args:
            sql: the statement, without data.
            parse: parses a statement with the engine, which may raise an error.

        Raises:
            Failure: a cluster would not do what is meant.
        """
        text = sql.decode()
        bare = _COMMENTS.sub("", text)
        if text not in self._parsed:
            parse(text)
            self._parsed.add(text)
        if demand := self._unmet(bare):
            self.refused.append((demand, bare.strip()[:200]))
            raise Failure(36, f"a cluster demands {demand}: {bare.strip()[:200]} (BAD_ARGUMENTS)")
        self._remember(bare)
        if SYNCS.match(bare):
            return b"select 1"
        return stripped(text).encode()

    def _unmet(self, sql: str) -> str:
        if DDL.match(sql) and not TEMPORARY.match(sql):
            if not ON_CLUSTER.search(sql) and not REPLICATED_BY_ITSELF.match(sql):
                return "ON CLUSTER"
            self.seen.add(" ".join(sql.split()[:2]).lower())
        created = CREATED.match(sql)
        if created:
            engine = ENGINE.search(sql)
            is_copy = re.search(rf"\bas\s+{_TABLE}\s*(?:comment\b|$)", sql, re.I)
            if engine and not _is_replicated(engine, created["table"]):
                return "an engine that is replicated under a path of its own"
            if not engine and not is_copy:
                return "an engine"
        if LOADS.match(sql) and S3.search(sql):
            return "s3Cluster"
        placed = PUT_IN_PLACE.match(sql)
        if placed and _plain(placed["new"]) in self._in_memory:
            return "a replicated table in the place of one"
        exchanged = EXCHANGES.match(sql)
        is_new = exchanged and _plain(exchanged["new"]) not in self._synced
        if is_new and not OF_THE_ADAPTER.search(exchanged["new"]):
            return "SYSTEM SYNC REPLICA before EXCHANGE"
        return ""

    def _remember(self, sql: str) -> None:
        if created := CREATED.match(sql):
            engine = ENGINE.search(sql)
            name = _plain(created["table"])
            is_memory = engine and engine["engine"] == "Memory"
            (self._in_memory.add if is_memory else self._in_memory.discard)(name)
        if synced := SYNCS.match(sql):
            self._synced.add(_plain(synced["table"]))
        elif changed := CHANGES.match(sql):
            self._synced.discard(_plain(changed["table"]))


def _is_replicated(engine: re.Match, table: str) -> bool:
    name, path = engine["engine"], engine["path"] or ""
    if name == "Memory":
        return bool(IN_MEMORY.search(table))
    if not name.startswith("Replicated"):
        return name in ("View", "Null")
    is_explicit = path.lstrip("( ").startswith("'")
    return not is_explicit or "{uuid}" in path or ("{shard}" in path and "{table}" in path)


def _plain(name: str) -> str:
    return re.sub(r"[`\"\s]", "", name)


def stripped(sql: str) -> str:
    """A statement without what only a cluster knows."""
    sql = ON_CLUSTER.sub("", sql)
    sql = S3_CLUSTER.sub("s3(", sql)
    return re.sub(r"\bReplicated(\w*MergeTree)\b", r"\1", sql)
