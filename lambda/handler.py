"""What AWS Lambda runs: unpack, call, answer. What it does is in `loader.events.trigger`."""

from functools import cache
from typing import Any

from loader.events.trigger import Trigger, for_lambda


@cache
def trigger() -> Trigger:
    """Made at the first event and kept: settings, connection, password."""
    return for_lambda()


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Load what the event names, within the time that is left."""
    return trigger().answer(event, context.get_remaining_time_in_millis() / 1000)
