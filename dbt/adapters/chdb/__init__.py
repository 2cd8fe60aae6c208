"""dbt adapter for embedded ClickHouse (chDB): dbt-clickhouse, with the engine in this process.

dbt-clickhouse has an open proposal for `driver: chdb` with `chdb_path`; the field names here
are the same, so that this plugin can be dropped when it lands.
"""

from dbt.adapters.base import AdapterPlugin

from dbt.adapters.chdb.impl import ChdbAdapter, ChdbCredentials
from dbt.include import chdb

Plugin = AdapterPlugin(
    adapter=ChdbAdapter,
    credentials=ChdbCredentials,
    include_path=chdb.PACKAGE_PATH,
    dependencies=["clickhouse"],
)
