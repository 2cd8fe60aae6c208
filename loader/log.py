"""Write log events and metrics, one JSON object per line."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

NAMESPACE = "XapiElt"

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

# CloudWatch accepts at most this many values of a metric in one line.
_MOST_VALUES = 100

# The metrics, each with its unit.
UNITS = {
    "ObjectsLoaded": "Count",
    "RowsLoaded": "Count",
    "MessagesRejected": "Count",
    "LoadDuration": "Milliseconds",
    "CommitLag": "Milliseconds",
    "TableLag": "Seconds",
    "TransformDuration": "Milliseconds",
    "TransformFailures": "Count",
    "RejectedShare": "Percent",
}


def escaped(value: Any) -> str:
    """Text for a terminal: characters that cannot be printed (control characters, line breaks,
    changes of direction) are written as escapes, so that a key or a statement can neither change
    the terminal nor begin a line.

    Args:
        value: the text, or what is to be shown as text.
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else _escape(mark) for mark in text)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON in printable ASCII alone, for the same reason.

    Args:
        value: the value; what JSON does not know is written as text.
        indent: spaces by which to indent; None for a single line.
    """
    # The only control character that `dumps` leaves as it is.
    return json.dumps(value, indent=indent, default=str).replace("\x7f", "\\u007f")


def _escape(mark: str) -> str:
    return mark.encode("unicode_escape").decode()


def _field(name: str, value: Any) -> str:
    """A field for people; with quotation marks if it could be taken for several. Within them, a
    backslash is escaped as well, or else one in front of a quotation mark would end the field."""
    text = escaped(value)
    if any(mark in text for mark in ' ="'):
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name}={text}"


class Log:
    """Log events as JSON lines.

    Args:
        level: the least severe level that is written.
        stream: where they are written; standard output if left out.
        human: whether to write plain text for people instead, without metrics.
    """

    def __init__(self, level: str = "INFO", stream: TextIO | None = None, human: bool = False):
        self._least = _LEVELS.index(level)
        self._stream = stream
        self._human = human

    def __call__(self, level: str, event: str, **about: Any) -> None:
        """Write one event.

        Args:
            level: DEBUG, INFO, WARNING or ERROR.
            event: the event's name.
            about: its fields.
        """
        if _LEVELS.index(level) >= self._least:
            now = time.time()
            stamp = (
                time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e3):03}Z"
            )
            if self._human:
                fields = " ".join(_field(name, value) for name, value in about.items())
                self._print(f"{stamp} {level:7} {event} {fields}".rstrip())
            else:
                self._print_json({"time": stamp, "level": level, "event": event, **about})

    def metrics(self, metrics: "Metrics") -> None:
        """Write metrics, each line without time and level."""
        for line in [] if self._human else metrics.lines():
            self._print_json(line)

    def _print_json(self, content: dict[str, Any]) -> None:
        self._print(to_json(content))

    def _print(self, text: str) -> None:
        print(text, file=self._stream or sys.stdout, flush=True)


@dataclass
class Metrics:
    """Metrics of one invocation, in CloudWatch's embedded metric format.

    Attributes:
        environment: value of the dimension Environment.
        stack: value of the dimension Stack; without one there is no such dimension.
        clock: the time, in seconds since 1970.
        values: values by name of the metric; several for a metric that is measured per object.
    """

    environment: str
    stack: str = ""
    clock: Callable[[], float] = time.time
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, *values: float) -> None:
        """Add values of a metric."""
        self.values.setdefault(name, []).extend(values)

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines to write. CloudWatch reads a line only if it contains nothing else."""
        dimensions = {"Environment": self.environment}
        if self.stack:
            dimensions["Stack"] = self.stack
        left = {name: values for name, values in self.values.items() if values}
        while left:
            now = {name: values[:_MOST_VALUES] for name, values in left.items()}
            left = {name: values[_MOST_VALUES:] for name, values in left.items()}
            left = {name: values for name, values in left.items() if values}
            yield {
                "_aws": {
                    "Timestamp": int(self.clock() * 1000),
                    "CloudWatchMetrics": [
                        {
                            "Namespace": NAMESPACE,
                            "Dimensions": [list(dimensions)],
                            "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in now],
                        }
                    ],
                },
                **dimensions,
                **{name: found[0] if len(found) == 1 else found for name, found in now.items()},
            }
