"""The command that writes pages: report."""

from typing import Annotated

import typer

from loader.cli.app import AsJson, app
from loader.cli.output import console, counting, print_json, size
from loader.report.writing import write
from loader.settings import Settings


@app.command(epilog="Example: xapi-elt report --section 2161 --out report")
def report(
    sections: Annotated[
        list[int] | None,
        typer.Option("--section", min=1, help="A section; repeat it for several. Default: all."),
    ] = None,
    courses: Annotated[
        list[str] | None,
        typer.Option("--course", help="A course whose statements name no section."),
    ] = None,
    out: Annotated[
        str, typer.Option(help="Where the pages go: a folder, or s3://bucket/prefix.")
    ] = "report",
    names: Annotated[
        bool,
        typer.Option(
            "--names", help="Show names of learners; needs the right to read dim_learners."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write pages to look at: one per section, an index, and one of the pipeline.

    Each page is one HTML file that needs no server and no network.
    """
    settings = Settings.from_env()
    with counting("reading") as status:
        written = write(
            settings,
            out,
            sections=sections or (),
            courses=courses or (),
            names=names,
            on_page=lambda title, number, of: status.update(f"page {number} of {of}: {title}"),
        )
    if as_json:
        print_json({"clickhouse": settings.place} | vars(written))
        return
    console.print(
        f"{len(written.pages):,} pages ({size(sum(written.pages.values()))}). "
        f"Open {written.index} in a browser."
    )
