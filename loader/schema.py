"""Create or upgrade what the loader writes into."""

from loader.settings import Settings
from loader.warehouse import Warehouse, ddl

TABLES = ("statements", "loads")


def init(warehouse: Warehouse, settings: Settings) -> list[str]:
    """Create databases and tables that are missing; what is there stays as it is.

    Returns:
        One line for each thing that is there now.

    Raises:
        LoaderError: ClickHouse refused.
    """
    for name in ("database", "raw_database"):
        warehouse.command(ddl(name, settings))
    for table in TABLES:
        warehouse.command(ddl(table, settings))
    return [
        f"database {settings.database}: the models that dbt builds",
        *(f"table {settings.raw_database}.{table}" for table in TABLES),
    ]
