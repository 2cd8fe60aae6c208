"""Commands that create the tables and load into them: init, load, demo."""

from typing import Annotated

import typer

from loader.cli.app import AsJson, app
from loader.cli.output import console, loading_bar, print_json, print_table, report
from loader.pipeline import Pipeline

Policy = Annotated[
    str, typer.Option(help="What another version of a loaded key means: append, replace, ignore.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Also load objects that are already loaded; the new lines replace the old."
    ),
]


@app.command(epilog="Example: xapi-elt init")
def init(as_json: AsJson = False) -> None:
    """Create the databases and raw tables that are missing; existing ones are not changed."""
    with Pipeline.from_env() as pipeline:
        ready = pipeline.init()
        where = pipeline.settings.place
    if as_json:
        print_json({"clickhouse": where, "ready": ready})
        return
    console.print(f"ClickHouse: {where}")
    for line in ready:
        console.print(f"ready: {line}")


@app.command(epilog="Example: xapi-elt load exports/ s3://lake/section/2161/video/x.jsonl")
def load(
    targets: Annotated[
        list[str], typer.Argument(help="s3://bucket/key, or .jsonl(.gz) files and folders.")
    ],
    force: Force = False,
    policy: Policy = "append",
    as_json: AsJson = False,
) -> None:
    """Load objects or local files, each exactly once."""
    with Pipeline.from_env() as pipeline, loading_bar() as show:
        summary = pipeline.load(*targets, policy=policy, force=force, on_progress=show)
    report(summary, as_json)


@app.command(epilog="Example: xapi-elt demo")
def demo() -> None:
    """Run the whole pipeline on sample data: local S3, load, dbt build, example queries, pages."""
    from loader.demo.demo import run

    run(console, print_table)
