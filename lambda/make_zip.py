"""Build the function's zip: the handler and the modules of this project that it imports.

The same sources give the same bytes, so the key in S3, which depends on the content, changes only
when the code does. Nothing is installed or compiled, so the package runs on arm64 and x86_64.
"""

import argparse
import ast
import hashlib
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HANDLER = ROOT / "lambda" / "handler.py"
OUTPUT = ROOT / "build" / "xapi-elt-lambda.zip"

# The zip contains imported modules of these packages, and these data files.
PACKAGES = ("loader",)
DATA = ("loader/clickhouse/sql/*.sql",)

# Libraries in Lambda's Python runtime.
RUNTIME = {"boto3", "botocore"}

MAX_BYTES = 1024 * 1024


class BuildError(Exception):
    """The package cannot be built; the message says why."""


@dataclass(frozen=True)
class Import:
    """An imported name, and whether it is imported when the file is loaded."""

    name: str
    at_load: bool


def imports_in(source: str, package: str) -> Iterator[Import]:
    """All names that a file imports, as absolute names.

    Args:
        source: the file's text.
        package: the package that its relative imports start from.
    """

    def visit(node: ast.AST, at_load: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, at_load)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(f"{module}.{alias.name}", at_load)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            # An import in a function or a try may fail without effect.
            lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Try)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, at_load and not lazy)

    yield from visit(ast.parse(source), at_load=True)


def module_files(name: str, root: Path) -> list[tuple[str, Path]]:
    """The files that Python runs for `import name`, as (module, path), packages first."""
    found = []
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:end])
        if (path / "__init__.py").is_file():
            found.append((".".join([*parts[:end], "__init__"]), path / "__init__.py"))
        elif path.with_suffix(".py").is_file():
            found.append((".".join(parts[:end]), path.with_suffix(".py")))
        else:
            break  # the last part is a name in a module, not a module
    return found


@dataclass(frozen=True)
class Contents:
    """The contents of the zip.

    Attributes:
        files: file by its name in the zip.
        left_out: libraries that are imported only in functions.
    """

    files: dict[str, Path]
    left_out: set[str]


def collect(handler: Path, root: Path) -> Contents:
    """Find the handler, what it imports, and the data files."""
    files, left_out = {"handler.py": handler}, set()
    eager, lazy = [("handler", handler)], []
    while eager or lazy:
        at_load = bool(eager)  # all that the cold start needs comes before all that may fail
        module, path = (eager or lazy).pop()
        for found in imports_in(path.read_text(), module.rpartition(".")[0]):
            top = found.name.split(".")[0]
            needed = at_load and found.at_load
            if top in PACKAGES:
                for part in module_files(found.name, root):
                    name = part[1].relative_to(root).as_posix()
                    if name not in files or (needed and part in lazy):
                        files[name] = part[1]
                        (eager if needed else lazy).append(part)
            elif top not in RUNTIME and top not in sys.stdlib_module_names:
                if needed:
                    raise BuildError(f"{path}: imports {top}, which Lambda does not have")
                left_out.add(top)
    for pattern in DATA:
        if any(name.startswith(pattern.split("/")[0] + "/") for name in files):
            files |= {path.relative_to(root).as_posix(): path for path in root.glob(pattern)}
    return Contents(files, left_out)


def read_text_only(path: Path) -> bytes:
    """Read a text file; compiled code is refused, because it runs on one processor only."""
    content = path.read_bytes()
    try:
        if "\0" in content.decode():
            raise ValueError("it contains NUL bytes")
    except ValueError as error:
        raise BuildError(f"{path}: only text files may go into the package: {error}") from error
    return content


def build(handler: Path = HANDLER, output: Path = OUTPUT, root: Path = ROOT) -> Path:
    """Write the zip and return its path."""
    if not handler.is_file():
        raise BuildError(f"{handler}: no such file")
    files = collect(handler, root).files
    output.parent.mkdir(parents=True, exist_ok=True)
    # Not compressed: another version of zlib would give other bytes, and the files are small.
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, read_text_only(files[name]))
    size = output.stat().st_size
    if size > MAX_BYTES:
        output.unlink()
        raise BuildError(f"{output}: {size:,} bytes, more than {MAX_BYTES:,}")
    return output


def main() -> int:
    """Build the zip and list its contents; return the exit code."""
    parser = argparse.ArgumentParser(prog="lambda/build.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--handler", type=Path, default=HANDLER, help="file with lambda_handler")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="zip to write")
    options = parser.parse_args()
    try:
        path = build(options.handler, options.output)
        left_out = collect(options.handler, ROOT).left_out
    except (BuildError, SyntaxError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            print(f"{entry.file_size:>9,}  {entry.filename}")
    if left_out:
        print(f"left out, because only functions import them: {', '.join(sorted(left_out))}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path.stat().st_size:>9,}  {path}  sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
