"""The SQL that gives ClickHouse users the rights of a role: `xapi-elt grants`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loader.clickhouse import safety
from loader.clickhouse.schema import ddl
from loader.errors import SettingsError
from loader.settings import Settings

# What each role is for; the docs name the role of each command.
ROLES = {
    "loader": "init if nothing is missing, load, backfill, reconcile, send, invoke, worker",
    "dbt": "dbt run, build, test, source freshness; transform, status",
    "worker": "all of loader and dbt: worker --transform with one user",
    "operator": "status, doctor, query, report, gc, redrive, backfill --dry-run, "
    "reconcile without --load-missing",
    "analyst": "queries on the event tables and marts",
    "privacy": "erase, expire, rotate-key, status, reconcile, gc, load",
}

# Columns that identify a learner or a statement. Analysts have learner_id.
NAMES = ("user_id", "home_page")
IDENTIFIERS = (*NAMES, "registration", "statement_id", "voided_statement_id")

# Marts that analysts do not get: one has whole lines, the other one names.
LINES, LEARNERS = "rejected_statements", "dim_learners"

# Rows of the table by which analysts see some sections, and of event tables and marts. A statement
# without a section is of a course.
OWN_SECTIONS = "user_name = currentUser()"
OF_OWN_SECTIONS = (
    "(section_id, if(section_id = 0, course_id, '')) in "
    f"(select section_id, course_id from {{}} where {OWN_SECTIONS})"
)

# Limits of an analyst's queries. With readonly = 2, clients may change other settings. Of a column
# that is granted alone, ClickHouse (26.9) refuses parts such as its NULLs, which it would read for
# `isNull(...)`.
ANALYST_SETTINGS = {
    "readonly": "2",
    "max_execution_time": "300",
    "max_memory_usage": "10000000000",
    "optimize_functions_to_subcolumns": "0",
}

# An erasure waits until what it removed is gone from the disk.
ERASURE_READS = ("parts", "detached_parts", "mutations", "dropped_tables", "processes")

# On a service of several replicas (ClickHouse Cloud) the next statement of a load may reach another
# one, and must see what the one before it wrote.
CONSISTENCY = {"select_sequential_consistency": "1"}


@dataclass(frozen=True)
class Mart:
    """A model of dbt below models/marts.

    Attributes:
        name: its table or view.
        columns: its columns, as its page lists them.
        is_table: whether it is a table, which can have a row policy, or a view.
    """

    name: str
    columns: tuple[str, ...]
    is_table: bool

    @property
    def for_people(self) -> bool:
        """Whether people query it; `int_` models are steps of others."""
        return not self.name.startswith("int_")


def marts(project: Path) -> list[Mart]:
    """The models below models/marts, from their pages.

    Args:
        project: the folder of the dbt project.
    """
    import yaml

    folder = project / "dbt_project" / "models" / "marts"
    config = yaml.safe_load((project / "dbt_project.yml").read_text())["models"]["xapi_elt"]
    found = []
    for page in sorted(folder.rglob("*.yml")):
        default = config["marts"][page.parent.name]["+materialized"]
        for model in yaml.safe_load(page.read_text()).get("models", []):
            sql = page.with_name(f"{model['name']}.sql").read_text()
            own = re.search(r"materialized\s*=\s*'(\w+)'", sql)
            columns = tuple(column["name"] for column in model["columns"])
            is_table = (own[1] if own else default) not in ("view", "kept_view")
            found.append(Mart(model["name"], columns, is_table))
    return found


def statements(
    role: str, settings: Settings, names: bool = False, of_sections: bool = False
) -> list[str]:
    """The statements that create a role, for an administrator of ClickHouse.

    They contain no password: the operator creates the users. They can be run again, which an
    upgrade requires.

    Args:
        role: one of ROLES.
        settings: names of databases, collection and cluster, and the folder of the dbt project.
        names: whether an analyst may see who the learners are.
        of_sections: whether an analyst sees only the sections that `analyst_sections` lists.

    Raises:
        SettingsError: an argument is wrong, or there is no dbt project.
    """
    if role not in ROLES:
        raise SettingsError(f"--role is {role!r}; accepted: {', '.join(ROLES)}")
    if role != "analyst" and (names or of_sections):
        raise SettingsError(
            f"--names, --section and --course belong to --role analyst, not to {role}"
        )
    return _Role(role, settings, names, of_sections).statements()


def role_name(role: str, settings: Settings, names: bool = False, of_sections: bool = False) -> str:
    """The name of the role that `statements` creates, quoted."""
    return _Role(role, settings, names, of_sections).name


def assignments(
    settings: Settings, user: str, sections: Iterable[int], courses: Iterable[str]
) -> list[str]:
    """The statements that let a user with the role of sections see these.

    Args:
        settings: names of databases.
        user: name of the ClickHouse user.
        sections: course sections.
        courses: courses, for statements without a section.
    """
    pairs = [(section, "") for section in sections] + [(0, course) for course in courses]
    table = f"{_quoted(settings.analysts_database)}.`analyst_sections`"
    return [
        f"insert into {table} (user_name, section_id, course_id) values "
        f"({_text(user)}, {section}, {_text(course)})"
        for section, course in dict.fromkeys(pairs)
    ]


class _Role:
    """Writes the statements of one role."""

    def __init__(self, role: str, settings: Settings, names: bool, of_sections: bool):
        self._role = role
        self._settings = settings
        self._names = names
        self._of_sections = of_sections
        self._cluster = f" on cluster {_quoted(settings.cluster)}" if self._is_cluster else ""
        self._raw = f"{_quoted(settings.raw_database)}.*"
        self._models = f"{_quoted(settings.database)}.*"
        parts = [settings.database, role, *["names"] * names, *["sections"] * of_sections]
        self.name = _quoted("_".join(parts))

    @property
    def _is_cluster(self) -> bool:
        return self._settings.target == "cluster"

    def statements(self) -> list[str]:
        """All of them, in the order in which they must be run."""
        return [
            f"create role if not exists {self.name}{self._cluster}",
            *getattr(self, f"_{self._role}")(),
        ]

    def _loader(self) -> list[str]:
        return [*self._loads(), *self._policies(self._raw), self._profile(CONSISTENCY)]

    def _dbt(self) -> list[str]:
        return [*self._builds(), *self._policies(self._raw, self._models), self._dbt_profile()]

    def _worker(self) -> list[str]:
        return [
            *self._loads(),
            *self._builds(),
            *self._policies(self._raw, self._models),
            self._dbt_profile(),
        ]

    def _operator(self) -> list[str]:
        return [
            self._grant("select", self._raw),
            self._grant("alter delete", f"{_quoted(self._settings.raw_database)}.`statements`"),
            self._grant("select", self._models),
            *self._reads_s3(),
            *self._policies(self._raw, self._models),
            self._profile(CONSISTENCY),
        ]

    def _privacy(self) -> list[str]:
        changes = "select, insert, alter delete, alter update, alter settings, alter modify comment"
        return [
            self._grant(f"{changes}, truncate", self._raw),
            self._grant(f"{changes}, create table, drop table", self._models),
            self._grant("table engine", "*"),
            *(self._grant("select", f"system.`{name}`") for name in ERASURE_READS),
            *self._reads_s3(),
            *self._policies(self._raw, self._models),
            self._profile(CONSISTENCY),
        ]

    def _analyst(self) -> list[str]:
        """Views without the columns that an analyst may not see, in a database of their own. They
        read with the rights of the analyst, so that the row policies of the tables apply, and so
        the analyst has those columns of what they read."""
        models = [mart for mart in marts(self._settings.project()) if self._may_see(mart)]
        hidden = set(IDENTIFIERS) - (set(NAMES) if self._names else set())
        database = self._settings.database
        theirs = _quoted(self._settings.analysts_database)
        assigned = f"{theirs}.`analyst_sections`"
        written = [f"create database if not exists {theirs}{self._cluster}"]
        if self._of_sections:
            table = re.sub(r"(?m)^--.*\n| +$", "", ddl("analyst_sections", self._settings))
            written.append(table.strip())
        for mart in models:
            if mart.for_people:
                unseen = set() if mart.name == LEARNERS else set(IDENTIFIERS)
                written.append(
                    f"create or replace view {theirs}.{_quoted(mart.name)}{self._cluster} as "
                    f"select {_columns(mart, unseen)} from {_quoted(database)}.{_quoted(mart.name)}"
                )
        written.append(self._grant("select", f"{theirs}.*"))
        for mart in models:
            some = f"({_columns(mart, hidden)})" if hidden & set(mart.columns) else ""
            written.append(
                self._grant(f"select{some}", f"{_quoted(database)}.{_quoted(mart.name)}")
            )
        tables = [f"{_quoted(database)}.{_quoted(mart.name)}" for mart in models if mart.is_table]
        rows = OF_OWN_SECTIONS.format(assigned) if self._of_sections else "1"
        return [
            *written,
            *self._policies(*tables, rows=rows),
            *self._policies(assigned, rows=OWN_SECTIONS),
            self._profile(ANALYST_SETTINGS),
        ]

    def _may_see(self, mart: Mart) -> bool:
        """Whether an analyst gets a mart. What has no section cannot have a row policy of sections;
        the view of the learners' names has the rows of the event tables that it reads."""
        if mart.name == LINES or (mart.name == LEARNERS and not self._names):
            return False
        has_section = {"section_id", "course_id"} <= set(mart.columns)
        return has_section or mart.name == LEARNERS or not self._of_sections

    def _loads(self) -> list[str]:
        return [
            self._grant("select, insert", self._raw),
            # So that `init` sees that the database exists.
            self._grant("show databases", self._models),
            *self._reads_s3(),
        ]

    def _reads_s3(self) -> list[str]:
        rights = [self._grant("create temporary table", "*.*"), self._grant("read", "S3")]
        if not self._settings.s3_role_arn:
            collection = _quoted(self._settings.s3_collection)
            rights.append(self._grant("named collection", collection))
        return rights

    def _builds(self) -> list[str]:
        what = "select, insert, alter, create table, create view, drop table, drop view"
        rights = [
            self._grant("select", self._raw),
            self._grant(what, self._models),
            self._grant("table engine", "*"),
            self._grant("select", "system.`parts`"),
            self._grant("select", "system.`processes`"),
        ]
        if self._is_cluster:
            rights.append(self._grant("cluster, system sync replica", "*.*"))
        return rights

    def _grant(self, what: str, on: str) -> str:
        return f"grant{self._cluster} {what} on {on} to {self.name}"

    def _policies(self, *tables: str, rows: str = "1") -> list[str]:
        """A row policy for each table: if another user has one, a server may hide all rows from the
        users who have none."""
        return [
            f"create row policy or replace {self.name}{self._cluster} on {table} using {rows} "
            f"to {self.name}"
            for table in tables
        ]

    def _dbt_profile(self) -> str:
        return self._profile(safety.macro_rules() | CONSISTENCY)

    def _profile(self, values: dict[str, Any]) -> str:
        written = ", ".join(f"{name} = '{value}'" for name, value in values.items())
        return (
            f"create settings profile or replace {self.name}{self._cluster} settings {written} "
            f"to {self.name}"
        )


def _columns(mart: Mart, hidden: set[str]) -> str:
    return ", ".join(_quoted(column) for column in mart.columns if column not in hidden)


def _quoted(name: str) -> str:
    """An identifier for SQL text: an administrator's client takes no parameters for names."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _text(value: str) -> str:
    """Text for SQL text, likewise."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
