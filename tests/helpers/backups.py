"""The backup and the restore of docs/operate.md, on a small database."""

from contextlib import closing

from loader.clickhouse.connect import open_warehouse
from tests.helpers.configured_server import serve
from tests.helpers.doc_blocks import blocks
from tests.helpers.paths import ROOT
from tests.helpers.small_database import SmallDatabase

_BLOCKS = blocks(ROOT / "docs" / "operate.md", "Backup and restore")

# The statements of the page: a backup (xapi-monday), one that adds to it (xapi-tuesday), and the
# restore of that.
(BACK_UP,), (ADD,), (*DROPS, RESTORE) = (
    block.statements for block in _BLOCKS if block.language == "sql"
)
COMMANDS = [command for block in _BLOCKS if block.language == "sh" for command in block.commands]


def run_on_server(database: SmallDatabase, *statements: str) -> None:
    """Run statements on the database with a configuration that allows backups."""
    folder = database.folder.resolve() / "backups"
    folder.mkdir(exist_ok=True)
    allowed = f"<backups><allowed_path>{folder}</allowed_path></backups>"
    with serve(database, allowed) as settings, closing(open_warehouse(settings)) as warehouse:
        for sql in statements:
            warehouse.command(sql)
