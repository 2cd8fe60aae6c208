"""Commands about personal data: expire, rotate-key."""

from dataclasses import asdict
from typing import Annotated

import typer

from loader import expire as expiry
from loader import pseudonyms
from loader.cli.app import AsJson, app
from loader.cli.output import confirm, console, counting, print_json, print_table, size
from loader.pipeline import Pipeline

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command(epilog="Example: xapi-elt expire --older-than 18m --dry-run")
def expire(
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="A number and d, w, m or y, e.g. 18m.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove raw lines of months in which every line was loaded longer ago than that.

    The ledger keeps their loads, and dbt keeps the events that came from them. Loads that are not
    transformed yet are refused by name.
    """
    with Pipeline.from_env() as pipeline:
        with counting("waiting for ClickHouse to find the lines"):
            found = expiry.plan(pipeline.warehouse, pipeline.settings, older_than)
        if not as_json:
            rows = [asdict(one) | {"bytes": size(one.bytes)} for one in found.months]
            print_table(f"Loaded before {found.before}", rows, f"no lines before {found.before}")
        removed = []
        if not (dry_run and as_json):
            found.check()
        if not dry_run and found.months:
            confirm(f"remove the raw lines of {len(found.months)} months for good?", yes, as_json)
            with counting("removing") as status:
                for one in expiry.remove(pipeline.warehouse, found):
                    removed.append(one)
                    status.update(f"removed: {one.month}")
    if as_json:
        print_json(asdict(found) | {"dry_run": dry_run, "removed": [one.month for one in removed]})
    elif removed:
        lines, used = sum(one.lines for one in removed), sum(one.bytes for one in removed)
        console.print(
            f"removed: {lines:,} lines, {size(used)}. ClickHouse frees the disk within minutes; "
            "copies in S3 and in backups are not removed"
        )
    if found.waiting:
        raise typer.Exit(1)


@app.command("rotate-key", epilog="Example: xapi-elt rotate-key --yes")
def rotate_key(yes: Yes = False, as_json: AsJson = False) -> None:
    """Replace the key of the pseudonyms: every learner_id becomes another one.

    Tables keep the old ids until `dbt run --full-refresh` has run; every other dbt run stops until
    then.
    """
    with Pipeline.from_env() as pipeline:
        pseudonyms.check_rosters(pipeline.warehouse, pipeline.settings)
        confirm("replace the key, so that every learner_id becomes another one?", yes, as_json)
        pseudonyms.rotate(pipeline.warehouse, pipeline.settings)
    if as_json:
        print_json({"rotated": True, "next": pseudonyms.AFTER_ROTATION})
    else:
        console.print(
            "the key is another one. Tables have the old ids, and other dbt runs stop, until: "
            f"{pseudonyms.AFTER_ROTATION}"
        )
