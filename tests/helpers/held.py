"""A statement that a server holds back, so that something else can happen before it runs."""

import threading


class Held:
    """Holds back the first statement that contains a text, until `open` is set.

    Attributes:
        reached: set when the statement has arrived.
        open: set it to let the statement run.
    """

    def __init__(self, text: str):
        self._text = text
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, sql: str) -> None:
        """Wait, if this is the statement."""
        if self._text in sql and not self.reached.is_set():
            self.reached.set()
            assert self.open.wait(120)
