"""Decide for each message whether it is done, and otherwise when it is delivered again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from loader.errors import describe
from loader.events.messages import Message
from loader.outcomes import Outcome

# Seconds until a message is delivered again if another attempt will probably fail as well: short,
# so that it reaches the dead-letter queue and its alarm within minutes.
SOON = 30

# Longest wait in seconds before the next attempt at a message that may succeed later.
LONGEST_WAIT = 900


@dataclass
class Verdict:
    """The result of one message.

    Attributes:
        message: the message.
        reasons: why it failed; empty if all its objects are loaded (now or before).
        retryable: whether another attempt may succeed.
    """

    message: Message
    reasons: list[str] = field(default_factory=list)
    retryable: bool = False

    @property
    def failed(self) -> bool:
        """Whether the message must be delivered again."""
        return bool(self.reasons)

    def wait(self, base: int) -> int:
        """Seconds until the next attempt: longer each time, if another attempt may succeed.

        Args:
            base: seconds before the second attempt.
        """
        if not self.retryable:
            return min(SOON, base)
        return min(base * 4 ** min(self.message.receives - 1, 9), LONGEST_WAIT)


def verdict(
    message: Message, outcomes: Mapping[str, Outcome], stopped: Exception | None
) -> Verdict:
    """Decide whether a message is done. It failed if any of its objects failed.

    Args:
        message: the message.
        outcomes: outcomes of all objects that were attempted, by path.
        stopped: the error that ended the load before all objects were attempted; None if all were.
    """
    if message.error:
        return Verdict(message, [message.error])
    found, why = Verdict(message), describe(stopped) if stopped else "unknown"
    for item in message.objects:
        outcome = outcomes.get(item.path)
        if outcome is None:
            # Not attempted, or not finished: the object may be fine, so try it again.
            found.reasons.append(f"{item.uri} was not loaded: {why}")
            found.retryable = True
        elif outcome.is_failed:
            found.reasons.append(outcome.error)
            found.retryable |= outcome.retryable
    return found
