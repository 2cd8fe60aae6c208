"""Random sequences of what loaders, dbt and people do to one database, compared after each run of
all models with what the staging view says.

    python -m tests.chaos.sequences --seed 7 --steps 100
"""

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from loader.clickhouse import schema
from loader.files import local_objects
from loader.gc import collect
from loader.load import load
from tests.chaos.sequence_lines import OTHER_COMMIT, OTHER_LINES, POOL
from tests.helpers.backups import ADD, BACK_UP, DROPS, RESTORE, run_on_server
from tests.helpers.compare import TABLES
from tests.helpers.dbt_runs import start_dbt
from tests.helpers.small_database import TABLES_ONLY, SmallDatabase
from tests.helpers.view_faults import copy_of_view, event_faults, faults, store_faults

DAYS = (
    "start_date: 2025-09-05, end_date: 2025-10-25",
    "start_date: 2025-11-01, end_date: 2025-11-01",
)

CLAIMS = """
select name from system.tables where database = 'xapi' and startsWith(name, 'elt_claim__')
"""

DATA_TESTS = (
    "every_committed_line_is_accounted_for",
    "events_lie_in_the_partition_of_their_month",
    "no_load_is_applied_twice",
    "no_table_lost_rows",
    "no_uncommitted_load_is_visible",
    "raw_lines_agree_with_ledger",
    "statement_store_agrees_with_ledger",
)


class Sequence(SmallDatabase):
    """A database, a lake of local files, and the steps that were taken so far.

    Args:
        seed: decides the steps.
        folder: where database, lake and dbt's files go.
    """

    def __init__(self, seed: int, folder: Path):
        super().__init__(folder)
        self.random = random.Random(seed)
        self.taken: list[str] = []
        self._lake = folder.resolve() / "lake"
        self._lake.mkdir(parents=True)
        self._versions: dict[str, list[str]] = {}
        self._number = 0
        self._backups: list[str] = []
        self._duration = 5.0
        self._built = False
        self._compiled = False
        schema.init(self._warehouse(), self._settings)

    def take_a_step(self) -> None:
        """Take one random step, and check what it should leave."""
        steps = STEPS if self._built else {Sequence.load_new: 1, Sequence.run_all: 1}
        step = self.random.choices(list(steps), list(steps.values()))[0]
        self.taken.append(step.__name__)
        step(self)

    # Loading ---------------------------------------------------------------------------------

    def load_new(self) -> None:
        """Load new objects, one or several at once."""
        keys = []
        for _ in range(self.random.choice((1, 1, 3))):
            self._number += 1
            keys.append(f"{self._number}.jsonl")
            self._put(keys[-1], self._new_body())
        self._load(keys)

    def load_another_version(self) -> None:
        """Overwrite objects, some with an older version, and load them by any policy."""
        keys = self._some_keys()
        for key in keys:
            is_restored = self.random.random() < 0.4
            self._put(
                key, self.random.choice(self._versions[key]) if is_restored else self._new_body()
            )
        policy = self.random.choice(("append", "replace", "ignore", "force"))
        self._load(keys, **({"force": True} if policy == "force" else {"policy": policy}))

    def leave_an_attempt(self) -> None:
        """A loader dies before its commit."""
        self._other_attempt(OTHER_LINES)

    def commit_late(self) -> None:
        """A commit with an earlier time becomes visible after later ones."""
        self._other_attempt(OTHER_LINES, OTHER_COMMIT)

    def collect_garbage(self) -> None:
        """Remove what attempts left."""
        collect(self._warehouse(), age=0, even_running=True)

    # dbt -------------------------------------------------------------------------------------

    def run_all(self) -> None:
        """Apply all loads to all tables."""
        self._run(*(TABLES_ONLY if self._built else ()))
        self._built = True
        self.check()

    def run_one(self) -> None:
        """Apply all loads to one table, and to the store."""
        family = self.random.choice(list(TABLES))
        self._run("--select", TABLES[family])
        with copy_of_view(self.change) as view:
            self._expect_nothing("int_xapi__statements", store_faults(self.query, view))
            self._expect_nothing(TABLES[family], event_faults(self.query, family, view))

    def run_without_one(self) -> None:
        """Apply all loads to all tables but one."""
        self._run(*TABLES_ONLY, self._a_table())

    def run_empty(self) -> None:
        """`--empty` counts no load as applied."""
        self._run("--empty")

    def refresh_all(self) -> None:
        """Fill all tables again."""
        self._run("--full-refresh", *TABLES_ONLY)
        self.check()

    def refresh_one(self) -> None:
        """Fill one table again."""
        self._run("--full-refresh", "--select", self._a_table())

    def rebuild_days(self) -> None:
        """Rebuild days of all tables or of one, and of all sections or of one."""
        self._run(*self._days())

    def retry_what_failed(self) -> None:
        """A table cannot be updated; once it can, `dbt retry` does the rest."""
        table = self.random.choice(list(TABLES.values()))
        self.load_new()
        self.change(f"alter table xapi.{table} add column surplus UInt8")
        output = self.dbt("run", *TABLES_ONLY, artifacts=True, fails=True)
        assert "only in the table: surplus" in output, output
        self.change(f"alter table xapi.{table} drop column surplus")
        self.dbt("retry", artifacts=True)
        self.check()

    def kill_a_run(self) -> None:
        """SIGKILL in the middle of a run."""
        arguments = self.random.choice(
            (
                TABLES_ONLY,
                ("--full-refresh", *TABLES_ONLY),
                ("--select", self._a_table()),
                self._days(),
            )
        )
        moment = self.random.uniform(0.3, 1) * self._duration
        self.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XAPI_CHDB_PATH", self._settings.chdb_path)
            process = start_dbt("run", *arguments, folder=self.folder)
            time.sleep(moment)
            was_killed = process.kill()
        self._note(*arguments, f"after {moment:.1f} s" if was_killed else "had ended")

    def drop_a_table(self) -> None:
        """Drop an event table; the next run fills it again."""
        table = self.random.choice(list(TABLES.values()))
        self._note(table)
        self.change(f"drop table if exists xapi.{table}")
        if self.random.random() < 0.5:
            self.load_new()
        self.run_all()

    def drop_claims(self) -> None:
        """The claims are gone, also those of runs that died; their numbers go on."""
        for row in self.query(CLAIMS):
            self.change(f"drop table xapi.`{row['name']}`")

    # Backups ---------------------------------------------------------------------------------

    def back_up(self) -> None:
        """Back up both databases; all but the first add to the one before."""
        name = f"backup-{len(self._backups)}"
        sql = BACK_UP.replace("xapi-monday", name)
        if self._backups:
            sql = ADD.replace("xapi-monday", self._backups[-1]).replace("xapi-tuesday", name)
        self._note(name)
        run_on_server(self, sql)
        self._backups.append(name)

    def restore(self) -> None:
        """Lose both databases, restore them, load what was loaded since, and apply it."""
        if not self._backups:
            self.back_up()
        name = self.random.choice(self._backups)
        self._note("from", name)
        run_on_server(self, *DROPS, RESTORE.replace("xapi-tuesday", name))
        self._load(sorted(self._versions))
        self.run_all()

    # Checks ----------------------------------------------------------------------------------

    def check(self) -> None:
        """All tables agree with the staging view, and the data tests find nothing."""
        with copy_of_view(self.change) as view:
            self._expect_nothing("the tables", faults(self.query, view))
        if not self._compiled:
            self.dbt("compile", "--select", "test_type:singular")
            self._compiled = True
        for name in DATA_TESTS:
            self._expect_nothing(name, self.data_test(name))

    @staticmethod
    def _expect_nothing(name: str, found: list) -> None:
        if found:
            raise AssertionError(f"{name}: {found[:5]}")

    # What the steps share --------------------------------------------------------------------

    def _run(self, *arguments: str) -> None:
        self._note(*arguments)
        started = time.monotonic()
        self.dbt("run", *arguments)
        self._duration = time.monotonic() - started

    def _load(self, keys: list[str], **how: object) -> None:
        self._note(*keys, *(f"{name}={value}" for name, value in how.items()))
        items = [item for key in keys for item in local_objects(self._lake / key)]
        for batch in load(self._warehouse(), self._settings, items, **how):
            assert not [outcome for outcome in batch if outcome.error], batch

    def _other_attempt(self, *statements: str) -> None:
        values = {
            "id": str(UUID(int=self.random.getrandbits(128))),
            "key": self._lake / self.random.choice(list(self._versions)),
            "seconds": self.random.choice((0, 1, 5 * 86400)),
        }
        self._note(*map(str, values.values()))
        for sql in statements:
            self.change(sql.format_map(values))

    def _put(self, key: str, body: str) -> None:
        self._versions.setdefault(key, []).append(body)
        (self._lake / key).write_text(body)

    def _new_body(self) -> str:
        lines = self.random.choices(POOL, k=self.random.choice((0, 1, 2, 5, 8)))
        return "".join(f"{line}\n" for line in lines)

    def _some_keys(self) -> list[str]:
        keys = sorted(self._versions)
        return self.random.sample(keys, min(len(keys), self.random.choice((1, 1, 2, 4))))

    def _a_table(self) -> str:
        tables = [*TABLES.values(), "int_xapi__statements", "rejected_statements"]
        return self.random.choice(tables)

    def _days(self) -> tuple[str, ...]:
        days = self.random.choice(DAYS)
        section = "select 1 from xapi.int_xapi__statements where section_id = 1 limit 1"
        if self.random.random() < 0.5 and self.query(section):
            days += ", section_id: 1"
        select = self.random.choice((TABLES_ONLY, ("--select", self._a_table())))
        return ("--vars", f"{{{days}}}", *select)

    def _note(self, *details: str) -> None:
        self.taken[-1] = " ".join((self.taken[-1], *details))


STEPS: dict[Callable[[Sequence], None], int] = {
    Sequence.load_new: 6,
    Sequence.load_another_version: 12,
    Sequence.leave_an_attempt: 2,
    Sequence.commit_late: 4,
    Sequence.collect_garbage: 2,
    Sequence.run_all: 8,
    Sequence.run_one: 3,
    Sequence.run_without_one: 2,
    Sequence.run_empty: 1,
    Sequence.refresh_all: 1,
    Sequence.refresh_one: 2,
    Sequence.rebuild_days: 4,
    Sequence.retry_what_failed: 1,
    Sequence.kill_a_run: 4,
    Sequence.drop_a_table: 1,
    Sequence.drop_claims: 1,
    Sequence.back_up: 1,
    Sequence.restore: 1,
}


def play(
    seed: int, steps: int, folder: Path, on_step: Callable[[str], None] = lambda _: None
) -> None:
    """Play a random sequence, and at its end a run of all models.

    Args:
        seed: decides the steps.
        steps: how many.
        folder: where everything goes; empty.
        on_step: called with what each step did, after it.

    Raises:
        AssertionError: a table is not what it should be; the text has the seed and the steps.
    """
    sequence = Sequence(seed, folder)
    try:
        for _ in range(steps):
            sequence.take_a_step()
            on_step(sequence.taken[-1])
        sequence.taken.append("run_all")
        sequence.run_all()
    except Exception as error:
        taken = "\n".join(sequence.taken)
        raise AssertionError(f"seed {seed}:\n{taken}\n{type(error).__name__}: {error}") from error
    finally:
        sequence.close()


def main() -> None:
    """Play one sequence; keep its folder if it fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix=f"sequence-{options.seed}-"))
    print(f"seed {options.seed}, {options.steps} steps in {folder}", flush=True)
    play(options.seed, options.steps, folder, partial(print, flush=True))
    shutil.rmtree(folder)
    print("nothing lost, nothing doubled")


if __name__ == "__main__":
    main()
