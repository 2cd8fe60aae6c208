"""Clients of AWS, made only where they are needed: boto3 takes a while to import."""

import os
from typing import Any


def client(service: str, region: str = "", *, connect: int = 3, read: int, attempts: int) -> Any:
    """A client with patience of its own.

    Args:
        region: where the service is; AWS_REGION if left out (which boto3 does not read), else
            what boto3 finds.
        connect: seconds to wait for a connection.
        read: seconds to wait for an answer.
        attempts: how often a call is made at most.
    """
    import boto3
    from botocore.config import Config

    patience = Config(
        connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": attempts}
    )
    region = region or os.environ.get("AWS_REGION", "")
    return boto3.client(service, region_name=region or None, config=patience)
