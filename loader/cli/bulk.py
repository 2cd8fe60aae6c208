"""Commands for whole buckets: backfill, reconcile, gc."""

from dataclasses import asdict
from typing import Annotated

import typer

from loader.bulk.backfill import BATCH_BYTES, Plan, Throttle
from loader.bulk.listing import by_ending
from loader.bulk.reconcile import Reconciliation
from loader.cli.app import AsJson, app
from loader.cli.load import Force, Policy
from loader.cli.output import (
    console,
    counting,
    duration,
    loading_bar,
    print_failures,
    print_json,
    report,
    size,
)
from loader.gc import SAFE_AGE
from loader.objects import MOST_PATHS, SUFFIXES
from loader.outcomes import Summary
from loader.pipeline import Pipeline

_MEGABYTE = 1_000_000

# Number of differences that are printed; --json prints more.
_SHOWN = 20

Uri = Annotated[
    str,
    typer.Argument(
        metavar="s3://BUCKET/PREFIX",
        help="The objects' prefix. As in S3, section/21 also matches section/210.",
    ),
]
SectionIds = Annotated[
    list[str] | None,
    typer.Option("--section-id", metavar="N", help="Only this course section; repeatable."),
]
StartDate = Annotated[
    str | None,
    typer.Option(
        metavar="YYYY-MM-DD",
        help="First UTC day, by the time in the key, else by the object's last change.",
    ),
]
EndDate = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Last UTC day, inclusive.")]


@app.command(epilog="Example: xapi-elt backfill s3://lake/ --start-date 2025-09-01 --dry-run")
def backfill(
    uri: Uri,
    section_id: SectionIds = None,
    start_date: StartDate = None,
    end_date: EndDate = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be loaded.")
    ] = False,
    force: Force = False,
    policy: Policy = "append",
    inventory: Annotated[
        str | None,
        typer.Option(
            metavar="s3://…/manifest.json",
            help="Read the objects from this S3 Inventory (CSV) instead of listing them.",
        ),
    ] = None,
    in_flight: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Number of concurrent INSERTs.", show_default="4; embedded 1"
        ),
    ] = None,
    batch_objects: Annotated[
        int, typer.Option(min=1, max=MOST_PATHS, help="Largest number of objects in one INSERT.")
    ] = MOST_PATHS,
    batch_mb: Annotated[
        float, typer.Option(min=0.000001, help="Largest INSERT in megabytes, as stored.")
    ] = round(BATCH_BYTES / _MEGABYTE),
    objects_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="Limit on objects a second.")
    ] = None,
    mb_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="Limit on megabytes a second, as stored.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Load all objects of a prefix that are not loaded yet.

    If it is interrupted, run the same command again to continue. New objects may be loaded at the
    same time, by the Lambda or a worker.
    """
    throttle = Throttle(
        objects_per_second,
        mb_per_second and mb_per_second * _MEGABYTE,
        most=batch_objects,
        most_bytes=int(batch_mb * _MEGABYTE),
    )
    with Pipeline.from_env() as pipeline:
        with counting("listing") as status:
            plan = pipeline.plan(
                uri,
                section_ids=section_id or (),
                start_date=start_date,
                end_date=end_date,
                inventory=inventory,
                policy=policy,
                force=force,
                in_flight=in_flight,
                on_progress=lambda plan: status.update(f"listing: {plan.listed:,} objects"),
            )
        if not as_json:
            _print_plan(plan, inventory is not None)
        if dry_run:
            if as_json:
                print_json({"plan": plan.as_dict()})
            return
        with loading_bar() as show:
            summary = pipeline.backfill(plan, throttle=throttle, on_progress=show)
    report(summary, as_json, plan=plan.as_dict())


@app.command(epilog="Example: xapi-elt reconcile s3://lake/section/ --load-missing")
def reconcile(
    uri: Uri,
    section_id: SectionIds = None,
    start_date: StartDate = None,
    end_date: EndDate = None,
    load_missing: Annotated[
        bool,
        typer.Option(
            "--load-missing",
            help="Load what is missing, changed or incomplete; then compare again.",
        ),
    ] = False,
    policy: Policy = "append",
    as_json: AsJson = False,
) -> None:
    """Compare S3 with the ledger, and the ledger with the raw table; exit 1 if they differ."""
    with Pipeline.from_env() as pipeline, counting("comparing") as status:

        def compare() -> Reconciliation:
            return pipeline.reconcile(
                uri,
                section_ids=section_id or (),
                start_date=start_date,
                end_date=end_date,
                policy=policy,
                on_progress=lambda found: status.update(f"comparing: {found.listed:,} objects"),
            )

        found, summary = compare(), Summary()
        plans = [plan for plan in (found.to_load, found.to_reload) if plan.count]
        for plan in plans if load_missing else []:
            status.update(f"loading {plan.count:,} objects")
            summary += pipeline.backfill(plan)
        if load_missing and plans:
            found = compare()
    if as_json:
        print_json(found.as_dict() | {"loaded": dict(summary.counts)})
    else:
        if summary.done:
            print_failures(summary)
            console.print(f"loaded: {summary.committed:,} objects, {summary.rows:,} lines")
        _print_comparison(found)
        if not load_missing and (found.to_load.count or found.to_reload.count):
            console.print("with --load-missing it loads what is missing, changed or incomplete")
    if not found.agrees:
        raise typer.Exit(1)


@app.command(epilog="Example: xapi-elt gc --dry-run")
def gc(
    older_than: Annotated[
        float,
        typer.Option(
            min=0, metavar="HOURS", help="Keep younger lines; their load may still be running."
        ),
    ] = SAFE_AGE / 3600,
    even_running: Annotated[
        bool,
        typer.Option("--even-running", help="Accept an age at which a load may still be running."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove lines of load attempts that never committed: leftovers of interrupted loads."""
    with Pipeline.from_env() as pipeline, counting("waiting for ClickHouse to find the lines"):
        garbage = pipeline.gc(
            age=int(older_than * 3600), even_running=even_running, dry_run=dry_run
        )
    if as_json:
        print_json(asdict(garbage))
    else:
        verb = "would remove" if dry_run else "removed"
        console.print(
            f"{verb}: {garbage.lines:,} lines of {garbage.loads:,} loads that were never committed"
        )


def _print_plan(plan: Plan, of_inventory: bool) -> None:
    selection = plan.selection
    where = selection.uri
    if selection.sections:
        where += f", section {', '.join(map(str, selection.sections))}"
    if selection.first_day or selection.last_day:
        where += f", {selection.first_day or 'the beginning'} to {selection.last_day or 'today'}"
    console.print(where)
    source = "in the inventory" if of_inventory else "listed"
    console.print(
        f"  objects: {plan.found:,} ({size(plan.found_bytes)}) of {plan.listed:,} {source}; "
        f"the ledger has {plan.held:,} of them"
    )
    console.print(
        f"  to load: {plan.count:,} ({size(plan.bytes)}); at least {plan.requests:,} S3 requests "
        f"(this plan took {plan.list_requests:,})"
    )
    _print_left_out(plan.left_out)
    if plan.count and plan.seconds is None:
        console.print("  time: unknown, because nothing was loaded yet")
    elif plan.count:
        console.print(
            f"  time: about {duration(max(plan.seconds, 1))}, at "
            f"{plan.objects_per_second:,.0f} objects "
            f"and {size(plan.bytes_per_second)} a second like the latest loads, "
            f"{plan.in_flight} INSERT at a time"
        )


def _print_left_out(counts: dict[str, int]) -> None:
    if counts:
        read = " and ".join(SUFFIXES)
        console.print(f"  left out: {by_ending(counts)} (only {read} are read)")


def _print_comparison(found: Reconciliation) -> None:
    for difference in found.differences[:_SHOWN]:
        note = f" ({difference.note})" if difference.note else ""
        console.print(f"{difference.kind}: {difference.object}{note}")
    total = found.counts.total()
    if total > _SHOWN:
        console.print(f"… and {total - _SHOWN:,} more; --json lists {len(found.differences):,}")
    console.print(
        f"{found.selection.uri}: S3 lists {found.listed:,} objects, the ledger has "
        f"{found.equal:,} of them; {found.lines:,} lines"
    )
    _print_left_out(found.left_out)
    if found.missed:
        console.print(
            f"versions that were overwritten before they were read: {found.missed:,} "
            "(outcome missed in the ledger)"
        )
    if found.expired_lines:
        console.print(f"lines beyond their retention, removed from raw: {found.expired_lines:,}")
    if found.leftover_lines:
        console.print(
            f"{found.leftover_lines:,} lines of {found.leftover_objects:,} objects were never "
            "committed; they are invisible (xapi-elt gc removes them)"
        )
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.counts.items()))
    console.print(f"they differ: {kinds}" if kinds else "listing, ledger and rows agree")
