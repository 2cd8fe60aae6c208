"""Keep the pages of a report up to date after runs of dbt."""

import time
from collections.abc import Callable

from loader.errors import describe
from loader.log import Log
from loader.report.html import require_packages
from loader.report.places import place
from loader.report.writing import write
from loader.settings import Settings


class Keeper:
    """Writes the pages of sections that changed since the last time, the index and the pipeline's.

    Args:
        settings: which ClickHouse.
        out: a folder, or s3://bucket/prefix.
        log: writes the log events.
        clock: seconds, monotonic.

    Raises:
        SettingsError: `out` is no place for pages, or a package is missing.
    """

    def __init__(
        self, settings: Settings, out: str, log: Log, clock: Callable[[], float] = time.monotonic
    ):
        require_packages()
        place(settings, out)
        self._settings = settings
        self._out = out
        self._log = log
        self._clock = clock

    def update(self) -> bool:
        """Write what is due.

        Returns:
            Whether it succeeded. After a failure the next update writes the same pages.
        """
        started = self._clock()
        try:
            written = write(self._settings, self._out, only_changed=True)
        except Exception as error:
            # The worker goes on: loading does not depend on pages.
            self._log("ERROR", "report_failed", error=describe(error))
            return False
        self._log(
            "INFO",
            "reported",
            index=written.index,
            pages=len(written.pages),
            unchanged=written.unchanged,
            seconds=round(self._clock() - started, 1),
        )
        return True
