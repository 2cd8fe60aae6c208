"""Where dbt finds this plugin's macros: it has none, dbt-clickhouse's serve."""

import os

PACKAGE_PATH = os.path.dirname(__file__)
