"""The entry point of AWS Lambda; the work is done in `loader.events.trigger`."""

from functools import cache
from typing import Any

from loader.events.trigger import Trigger, for_lambda


@cache
def trigger() -> Trigger:
    """Made at the first event and kept for later ones, with settings, connection and password."""
    return for_lambda()


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Handle an event within the invocation's remaining time (see `Trigger.answer`)."""
    return trigger().answer(event, context.get_remaining_time_in_millis() / 1000)
