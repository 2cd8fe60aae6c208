"""What became of each message: whether it is done, and when it should come back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from loader.events.messages import Message
from loader.outcomes import Outcome

# Seconds after which a message returns that another attempt will most likely not help: soon, so
# that it reaches the dead-letter queue and its alarm within minutes.
SOON = 30

# Longest wait before the next attempt at what may succeed later, in seconds.
LONGEST_WAIT = 900


@dataclass
class Verdict:
    """What became of one message.

    Attributes:
        message: the message.
        reasons: why it failed; empty if everything it names is loaded (now or before).
        retryable: whether another attempt may help.
    """

    message: Message
    reasons: list[str] = field(default_factory=list)
    retryable: bool = False

    @property
    def failed(self) -> bool:
        """Whether the message must come back."""
        return bool(self.reasons)

    def wait(self, base: int) -> int:
        """Seconds until the next attempt: longer each time, if another attempt may help.

        Args:
            base: seconds before the second attempt.
        """
        if not self.retryable:
            return min(SOON, base)
        return min(base * 4 ** min(self.message.receives - 1, 9), LONGEST_WAIT)


def verdict(
    message: Message, outcomes: Mapping[str, Outcome], stopped: Exception | None
) -> Verdict:
    """Judge a message; one that names several objects fails if any of them failed.

    Args:
        message: the message.
        outcomes: outcomes of all objects that were attempted, by path.
        stopped: what ended the load before all objects were attempted, if anything did.
    """
    if message.error:
        return Verdict(message, [message.error])
    found = Verdict(message)
    for item in message.objects:
        outcome = outcomes.get(item.path)
        if outcome is None:
            # Not attempted, or not finished: nothing is wrong with it, so it may come back.
            found.reasons.append(f"{item.uri} was not loaded: {stopped}")
            found.retryable = True
        elif outcome.is_failed:
            found.reasons.append(outcome.error)
            found.retryable |= outcome.retryable
    return found
