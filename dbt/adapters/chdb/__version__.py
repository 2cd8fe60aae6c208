"""The version that dbt shows for the plugin."""

version = "1.10.0"
