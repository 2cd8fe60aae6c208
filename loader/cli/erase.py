"""The command that removes learners: erase."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from loader.aws.client import s3_client
from loader.cli.app import AsJson, app
from loader.cli.output import confirm, console, counting, errors, print_json, print_table
from loader.errors import SettingsError
from loader.pipeline import Pipeline
from loader.privacy import tombstones
from loader.privacy.erase import Erasure
from loader.privacy.identity import ACCEPTED, Identity, identities
from loader.privacy.objects import objects_to_rewrite, rewrite
from loader.privacy.search import Found, Search, forms_of_pseudonym

# Number of places that are printed; --json prints all.
_SHOWN = 20


@app.command(
    epilog="Example: xapi-elt erase --user 7 --home-page https://lms.example.org --dry-run"
)
def erase(
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the account; with --home-page.")
    ] = None,
    home_page: Annotated[
        str | None, typer.Option(metavar="URL", help="Home page of the account; '' if it has none.")
    ] = None,
    mbox: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Mail address, also as its SHA-1.")
    ] = None,
    mbox_sha1sum: Annotated[
        str | None, typer.Option(metavar="HEX", help="SHA-1 of the mail address.")
    ] = None,
    openid: Annotated[str | None, typer.Option(metavar="URL", help="OpenID.")] = None,
    learner_id: Annotated[
        str | None, typer.Option(metavar="HEX", help="Pseudonym in the tables.")
    ] = None,
    pending: Annotated[
        bool,
        typer.Option(
            "--pending", help="Overwrite what came again of all learners that were erased."
        ),
    ] = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Kept with the tombstone; no names.")
    ] = "",
    also_unparsed: Annotated[
        bool,
        typer.Option(
            "--also-unparsed", help="Also lines that could not be parsed and name the learner."
        ),
    ] = False,
    s3: Annotated[
        bool, typer.Option("--s3", help="Rewrite the S3 objects, delete their old versions.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show where the learner is.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Search for everybody who was erased; exit 1 if found."),
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--list", help="List the erasures, without names.")
    ] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tombstones and their key.")
    ] = None,
    import_from: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Add exported tombstones.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Erase a learner everywhere: content goes, the places of lines stay, so that all counts hold.

    A tombstone keeps the learner out of every later load, rebuild and restore. If it is
    interrupted, run it again.
    """
    names = [user, home_page, mbox, mbox_sha1sum, openid, learner_id]
    has_learner = any(value is not None for value in names)
    actions = [verify, list_all, export is not None, import_from is not None, pending]
    if sum(actions) + has_learner != 1:
        raise SettingsError(
            f"accepted: {ACCEPTED}, --verify, --list, --export or --import; one of them"
        )
    with Pipeline.from_env() as pipeline:
        if list_all:
            _print_list(tombstones.listed(pipeline.warehouse), as_json)
        elif export:
            _write(export, tombstones.exported(pipeline.warehouse))
            _say({"file": str(export)}, as_json, f"{export} has the tombstones and their key")
        elif import_from:
            pipeline.init()
            new = tombstones.import_from(pipeline.warehouse, _read(import_from))
            text = f"imported: {new:,} tombstones. Run xapi-elt erase --pending now"
            _say({"imported": new}, as_json, text)
        elif verify:
            _verify(pipeline, as_json)
        else:
            forms = _forms(pipeline, *names)
            if dry_run:
                _show(pipeline, forms, as_json)
            else:
                confirm("Erase the learner? This cannot be undone.", yes or pending, as_json)
                _erase(pipeline, forms, reason, also_unparsed, s3, as_json)


def _forms(pipeline: Pipeline, *names: str | None) -> list[Identity]:
    """The identity that the options name; none with --pending."""
    *others, learner_id = names
    if learner_id is None:
        return identities(*others) if any(value is not None for value in others) else []
    if any(value is not None for value in others):
        raise SettingsError(f"exactly one learner is erased at a time; accepted: {ACCEPTED}")
    return forms_of_pseudonym(pipeline.warehouse, pipeline.settings, learner_id)


def _erase(
    pipeline: Pipeline,
    forms: list[Identity],
    reason: str,
    also_unparsed: bool,
    s3: bool,
    as_json: bool,
) -> None:
    warehouse, settings = pipeline.warehouse, pipeline.settings
    pipeline.init()

    def objects() -> dict[str, Any]:
        if s3:
            done = rewrite(warehouse, settings, s3_client(settings), everything=not forms)
            return {
                "objects_rewritten": done.objects,
                "versions_deleted": done.deleted_versions,
                "objects_left": done.left,
            }
        left = [
            f"s3://{row['bucket']}/{row['key']}" for row in objects_to_rewrite(warehouse, not forms)
        ]
        return {"objects_to_rewrite": left}

    with Search(warehouse, settings, forms) as search, counting("searching") as status:
        erasure = Erasure(warehouse, settings, search, status.update)
        if forms:
            erasure.write_tombstones(reason)
        receipt = erasure.run(also_unparsed, objects)
    if as_json:
        print_json(receipt)
    else:
        _print_receipt(receipt)
    if not receipt["is_complete"] or receipt.get("objects_left"):
        raise typer.Exit(1)


def _print_receipt(receipt: dict[str, Any]) -> None:
    rows = ", ".join(f"{rows:,} of {name}" for name, rows in receipt["rows_removed"].items())
    console.print(f"raw lines overwritten: {receipt['lines_overwritten']:,}")
    console.print(f"rows removed: {rows or 'none'}")
    if receipt["error_texts_overwritten"]:
        console.print(f"error texts overwritten: {receipt['error_texts_overwritten']:,}")
    if receipt["unparsed_lines_that_name_the_learner"]:
        console.print(
            f"lines that could not be parsed and name the learner: "
            f"{receipt['unparsed_lines_that_name_the_learner']:,}; look at them (--dry-run), then "
            "run the same command with --also-unparsed"
        )
    if receipt["statements_of_others_that_name_the_learner"]:
        console.print(
            "statements of others that name the learner, which stay: "
            f"{receipt['statements_of_others_that_name_the_learner']:,}"
        )
    if "objects_rewritten" in receipt:
        console.print(
            f"S3 objects rewritten: {receipt['objects_rewritten']:,}; old versions deleted: "
            f"{receipt['versions_deleted']:,}"
        )
    for one in receipt.get("objects_left", []):
        errors.print(f"left in S3: {one['object']}: {one['reason']}")
    objects = receipt.get("objects_to_rewrite", [])
    if objects:
        console.print(f"S3 objects that may still hold erased learners: {len(objects):,} (--s3)")
        for uri in objects:  # all of them: the owner of the bucket has to deal with each
            console.print(f"  {uri}")
    if receipt["broken_parts_not_touched"]:
        errors.print(
            f"{receipt['broken_parts_not_touched']:,} parts that ClickHouse has put aside (folder "
            "detached) were not searched; remove them if nobody needs them"
        )
    if receipt["is_complete"]:
        console.print(f"verified: nothing is left. Receipt: {receipt['request_id']}")
    else:
        errors.print(f"left: {receipt['left']}")


def _show(pipeline: Pipeline, forms: list[Identity], as_json: bool) -> None:
    """Print where a learner is. Changes nothing."""
    with Search(pipeline.warehouse, pipeline.settings, forms) as search, counting("searching"):
        found = search.find()
    if as_json:
        print_json(found.as_dict())
    else:
        _print_found(found)


def _verify(pipeline: Pipeline, as_json: bool) -> None:
    with Search(pipeline.warehouse, pipeline.settings) as search, counting("searching"):
        found = search.find()
    if as_json:
        print_json(found.as_dict() | {"is_clean": found.is_clean})
    elif found.is_clean:
        console.print("nothing of an erased learner was found")
    else:
        _print_found(found)
        console.print("run xapi-elt erase --pending")
    if not found.is_clean:
        raise typer.Exit(1)


def _print_found(found: Found) -> None:
    tables = [{"table": name, "rows": rows} for name, rows in found.tables.items()]
    print_table("Tables", tables, empty="tables: no rows")
    objects = [
        {"object": f"s3://{row['bucket']}/{row['key']}" if row["bucket"] else row["key"]}
        | {name: row[name] for name in ("status", "lines", "statements")}
        for row in found.objects
    ]
    print_table("Raw lines, by object", objects[:_SHOWN], empty="raw lines: none")
    if len(objects) > _SHOWN:
        console.print(f"… and {len(objects) - _SHOWN:,} more; --json lists all")
    console.print(f"{found.statements:,} statements in {found.lines:,} raw lines")
    for title, places in (
        ("Lines that could not be parsed and contain the identifier", found.unparsed),
        ("Statements of others that name the learner; they stay", found.named),
    ):
        rows = [
            {
                "object": place["key"],
                "line": place["source_line"],
                "statement": place["source_item"],
            }
            for place in places
        ]
        print_table(title, rows[:_SHOWN])
        if len(rows) > _SHOWN:
            console.print(f"… and {len(rows) - _SHOWN:,} more; --json lists all")
    if found.errors:
        console.print(f"error texts of the ledger that quote the identifier: {found.errors:,}")
    if found.interrupted:
        console.print("an erasure was interrupted")


def _print_list(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
    else:
        shown = [row | {"kinds": ", ".join(row["kinds"])} for row in rows]
        print_table("Erasures", shown, empty="nobody was erased")


def _say(value: dict[str, Any], as_json: bool, text: str) -> None:
    if as_json:
        print_json(value)
    else:
        console.print(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def _write(path: Path, text: str) -> None:
    """Write a file that only this user can read: it has the key."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error}") from None
