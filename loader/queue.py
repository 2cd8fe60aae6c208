"""The queue of notifications, as far as we speak to it ourselves."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from loader import aws

# Entries of one batch call.
_MOST = 10

# Longest visibility timeout of SQS, in seconds.
LONGEST_DELAY = 43_200


class QueueError(Exception):
    """The queue did not do what it was asked to."""


class Queue:
    """An SQS queue.

    Args:
        url: where it is.
        client: SQS; made when first needed if left out.
    """

    def __init__(self, url: str, client: Any = None):
        self.url = url
        self._client = client

    def receive(self, most: int, wait: int) -> list[dict[str, Any]]:
        """Take messages, as Lambda would name their parts in an event.

        Args:
            most: how many at most; SQS gives ten.
            wait: seconds to wait for the first.
        """
        with _errors():
            answer = self._sqs().receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(most, _MOST),
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message.get("Attributes", {}),
                "messageAttributes": message.get("MessageAttributes", {}),
                "eventSource": "aws:sqs",
            }
            for message in answer.get("Messages", [])
        ]

    def delete(self, receipts: Iterable[str]) -> None:
        """Acknowledge messages."""
        self._in_batches(
            "delete_message_batch", [{"ReceiptHandle": receipt} for receipt in receipts]
        )

    def delay(self, delays: Iterable[tuple[str, int]]) -> None:
        """Say in how many seconds each message may be handed out again."""
        self._in_batches(
            "change_message_visibility_batch",
            [
                {"ReceiptHandle": receipt, "VisibilityTimeout": min(seconds, LONGEST_DELAY)}
                for receipt, seconds in delays
            ],
        )

    def visibility(self) -> int:
        """Seconds for which the queue hides a message that it handed out."""
        with _errors():
            answer = self._sqs().get_queue_attributes(
                QueueUrl=self.url, AttributeNames=["VisibilityTimeout"]
            )
        return int(answer["Attributes"]["VisibilityTimeout"])

    def _in_batches(self, call: str, entries: list[dict[str, Any]]) -> None:
        """Make a batch call for all entries; then say which failed."""
        failed: list[str] = []
        for batch in _batches(entries):
            with _errors():
                numbered = [{"Id": str(number)} | entry for number, entry in enumerate(batch)]
                answer = getattr(self._sqs(), call)(QueueUrl=self.url, Entries=numbered)
            failed += [f"{entry['Code']}" for entry in answer.get("Failed", [])]
        if failed:
            reasons = ", ".join(sorted(set(failed)))
            raise QueueError(f"{call} failed for {len(failed)} of {len(entries)}: {reasons}")

    def _sqs(self) -> Any:
        if self._client is None:
            # Longer than a long poll, shorter than botocore's minute.
            self._client = aws.client("sqs", read=30, attempts=3)
        return self._client


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what boto3 raises into a QueueError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise QueueError(f"the queue: {error}") from None


def _batches(entries: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rest = iter(entries)
    while batch := list(islice(rest, _MOST)):
        yield batch
