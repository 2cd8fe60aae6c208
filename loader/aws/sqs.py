"""Receive, send, acknowledge and delay the messages of an SQS queue."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from loader.aws.client import aws_errors, client
from loader.errors import RetryableError, SettingsError

# Entries of one batch call.
_MOST = 10

# Largest sum of bodies, in bytes, that one call of a batch sends: less than the limit of SQS, which
# counts attributes as well.
_LARGEST_SEND = 200_000

# Longest visibility timeout of SQS, in seconds.
LONGEST_DELAY = 43_200


class Queue:
    """An SQS queue. Each method raises a LoaderError if SQS refuses or does not respond.

    Args:
        url: address of the queue.
        sqs: client of SQS; made when first needed if left out.
    """

    def __init__(self, url: str, sqs: Any = None):
        self.url = url
        self._client = sqs

    def receive(self, most: int, wait: int, hide: int | None = None) -> list[dict[str, Any]]:
        """Receive messages, in the form in which Lambda passes them to a function.

        Args:
            most: largest number of messages; SQS returns at most ten.
            wait: seconds to wait for the first message.
            hide: seconds for which they are hidden; the queue's visibility timeout if left out.
        """
        more = {} if hide is None else {"VisibilityTimeout": hide}
        with aws_errors("the queue"):
            answer = self._sqs().receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(most, _MOST),
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
                **more,
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

    def send(self, records: Iterable[dict[str, Any]]) -> None:
        """Send copies of received messages, with their attributes.

        Args:
            records: messages of `receive`; at most ten.
        """
        entries = [
            {
                "MessageBody": record["body"],
                "MessageAttributes": record["messageAttributes"],
            }
            for record in records
        ]
        is_small = sum(len(entry["MessageBody"].encode()) for entry in entries) < _LARGEST_SEND
        for some in [entries] if is_small else [[entry] for entry in entries]:
            self._in_batches("send_message_batch", some)

    def delete(self, receipts: Iterable[str]) -> None:
        """Acknowledge messages.

        Args:
            receipts: their receipt handles.
        """
        self._in_batches(
            "delete_message_batch", [{"ReceiptHandle": receipt} for receipt in receipts]
        )

    def delay(self, delays: Iterable[tuple[str, int]]) -> None:
        """Change when messages become visible again.

        Args:
            delays: receipt handle and seconds from now, for each message.
        """
        self._in_batches(
            "change_message_visibility_batch",
            [
                {"ReceiptHandle": receipt, "VisibilityTimeout": min(seconds, LONGEST_DELAY)}
                for receipt, seconds in delays
            ],
        )

    def dead_letters(self) -> "Queue":
        """The queue that receives the messages that failed too often: the redrive policy names it.

        Raises:
            SettingsError: there is none.
        """
        with aws_errors("the queue"):
            answer = self._sqs().get_queue_attributes(
                QueueUrl=self.url, AttributeNames=["RedrivePolicy"]
            )
            policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy") or "{}")
            if "deadLetterTargetArn" not in policy:
                raise SettingsError(
                    f"the queue {self.url} has no dead-letter queue; accepted: a queue with a "
                    "redrive policy, as the stack creates it"
                )
            account, name = policy["deadLetterTargetArn"].split(":")[-2:]
            found = self._sqs().get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
        return Queue(found["QueueUrl"], self._sqs())

    def visibility(self) -> int:
        """The queue's visibility timeout: seconds for which it hides a received message."""
        return self._attributes("VisibilityTimeout")[0]

    def depth(self) -> tuple[int, int]:
        """About how many messages wait, and how many are received but not acknowledged."""
        waiting, in_flight = self._attributes(
            "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
        )
        return waiting, in_flight

    def _attributes(self, *names: str) -> list[int]:
        with aws_errors("the queue"):
            answer = self._sqs().get_queue_attributes(QueueUrl=self.url, AttributeNames=list(names))
        return [int(answer["Attributes"][name]) for name in names]

    def _in_batches(self, call: str, entries: list[dict[str, Any]]) -> None:
        """Make a batch call for all entries, then raise an error if it failed for some of them."""
        failed: list[str] = []
        for batch in _batches(entries):
            with aws_errors("the queue"):
                numbered = [{"Id": str(number)} | entry for number, entry in enumerate(batch)]
                answer = getattr(self._sqs(), call)(QueueUrl=self.url, Entries=numbered)
            failed += [entry["Code"] for entry in answer.get("Failed", [])]
        if failed:
            reasons = ", ".join(sorted(set(failed)))
            raise RetryableError(
                f"the queue: {call} failed for {len(failed)} of {len(entries)}: {reasons}"
            )

    def _sqs(self) -> Any:
        if self._client is None:
            # The read timeout is longer than a long poll and shorter than botocore's minute.
            self._client = client("sqs", read=30, attempts=3)
        return self._client


def _batches(entries: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rest = iter(entries)
    while batch := list(islice(rest, _MOST)):
        yield batch
