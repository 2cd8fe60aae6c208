"""Parses a request to the stand-in for a ClickHouse server: its SQL and its data."""

import re

from tests.helpers.clickhouse_failure import Failure

LONGEST_SQL = 256 << 10  # a server's default
QUOTED = re.compile(
    r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`\\]|\\.)*`|--[^\n]*|/\*.*?\*/", re.DOTALL
)
DATA_FOLLOWS = re.compile(
    r"(?is)(?P<sql>(?P<into>\s*insert\b.*?)(?P<settings>\bsettings\s+\w+\s*=.*?)?)"
    r"\bformat\s+(?P<format>\w+)[ \t\f]*\r?\n?"
)
INPUT = re.compile(r"(?i)\binput\s*\(")
READS = {"select", "with", "from", "show", "describe", "desc", "explain", "exists", "check"}


def quote(text: str, mark: str = "'") -> str:
    """A string literal, or with a backtick an identifier."""
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


class Statement:
    """The SQL of a request, parted from the data that follows it in an INSERT."""

    def __init__(self, text: bytes) -> None:
        """Look at the text without its strings and comments, one character for each byte."""
        plain = text[:LONGEST_SQL].decode("latin-1")
        plain = QUOTED.sub(lambda quoted: " " * len(quoted[0]), plain)
        self.text, self.shown, self.data = text, text, DATA_FOLLOWS.match(plain)
        self.selects = self.data and re.search(r"(?i)\bselect\b", self.data["sql"])
        if self.selects and not INPUT.search(self.data["sql"]):
            self.data = None
        if self.data:
            self.shown, plain = text[: self.data.end("format")], self.data["sql"]
        self.verb = "insert" if self.data else (re.findall(r"\w+", plain) or [""])[0].lower()
        self.reads = self.verb in READS and not re.search(r"(?i)\binsert\s+into\b", plain)
        last = re.search(r"(?is)\bformat\s+(\w+)\s*(\bsettings\b.*)?[\s;]*$", plain)
        self.output_format = last[1] if last else None
        if re.search(r";\s*[^\s;]", plain):
            raise Failure(62, "Syntax error (Multi-statements are not allowed) (SYNTAX_ERROR)")
        if re.search(r"(?i)\bfrom\s+infile\b", plain):
            raise Failure(78, "Query has infile and was sent directly (UNKNOWN_TYPE_OF_QUERY)")

    def reading(self, file: str) -> bytes:
        """The statement with the data in a file: chDB takes none for input(), without a word,
        and cuts white space and `;` from the end of data in the SQL."""
        sql, input_format = self.text[: self.data.end("sql")], self.data["format"]
        if self.selects:
            at = INPUT.search(self.data["sql"]).span()
            source = f"file({quote(file)}, {quote(input_format)}, ".encode()
            return sql[: at[0]] + source + sql[at[1] :]
        source, at = f" FROM INFILE {quote(file)} ".encode(), self.data.end("into")
        return sql[:at] + source + sql[at:] + f" FORMAT {input_format}".encode()
