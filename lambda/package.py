"""The function's zip, and the bucket where the template looks for it."""

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import boto3
import make_zip
from botocore.exceptions import ClientError
from console import DeployError, say


@dataclass(frozen=True)
class Package:
    """The function's zip, and where the template looks for it."""

    path: Path
    bucket: str
    key: str
    account: str

    @classmethod
    def build(cls, session: boto3.Session, options: argparse.Namespace) -> "Package":
        """Build the zip, or take the one given."""
        path = options.zip or make_zip.build()
        account = session.client("sts").get_caller_identity()["Account"]
        bucket = options.code_bucket or f"xapi-elt-code-{account}-{session.region_name}"
        # Named by content: new code is a new key, so CloudFormation sees that it changed.
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(path, bucket, f"xapi-elt/{digest[:32]}.zip", account)


def make_code_bucket(s3, bucket: str, account: str) -> None:
    """Create the bucket for packages, closed to the public, unless it is there."""
    try:
        # Owned by this account: its name can be guessed, and someone else could wait there.
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        return
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise DeployError(f"code bucket {bucket}: {error}") from error
    say(f"creating bucket {bucket} for packages")
    arguments = {"Bucket": bucket}
    if s3.meta.region_name != "us-east-1":  # the one region that must not be named
        arguments["CreateBucketConfiguration"] = {"LocationConstraint": s3.meta.region_name}
    s3.create_bucket(**arguments)
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )


def upload(s3, package: Package) -> None:
    """Put the package where the template looks for it."""
    make_code_bucket(s3, package.bucket, package.account)
    s3.put_object(
        Bucket=package.bucket,
        Key=package.key,
        Body=package.path.read_bytes(),
        ExpectedBucketOwner=package.account,
    )
    size = package.path.stat().st_size
    say(f"uploaded s3://{package.bucket}/{package.key} ({size:,} bytes)")
