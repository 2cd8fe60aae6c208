"""Upload the function's zip to the bucket that the template names."""

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
    """The function's zip, and its address in S3."""

    path: Path
    bucket: str
    key: str
    account: str

    @classmethod
    def build(cls, session: boto3.Session, options: argparse.Namespace) -> "Package":
        """Build the zip, or use the one of the option --zip."""
        path = options.zip or make_zip.build()
        account = session.client("sts").get_caller_identity()["Account"]
        bucket = options.code_bucket or f"xapi-elt-code-{account}-{session.region_name}"
        # The key depends on the content, so CloudFormation notices that the code changed.
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(path, bucket, f"xapi-elt/{digest[:32]}.zip", account)


def make_code_bucket(s3, bucket: str, account: str) -> None:
    """Create the bucket for packages, without public access, if it does not exist."""
    try:
        # It must be this account's: others can guess the name and create the bucket first.
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        return
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise DeployError(f"code bucket {bucket}: {error}") from error
    say(f"creating bucket {bucket} for packages")
    arguments = {"Bucket": bucket}
    if s3.meta.region_name != "us-east-1":  # S3 does not accept this region's name here
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
    """Upload the package; create the bucket if needed."""
    make_code_bucket(s3, package.bucket, package.account)
    s3.put_object(
        Bucket=package.bucket,
        Key=package.key,
        Body=package.path.read_bytes(),
        ExpectedBucketOwner=package.account,
    )
    size = package.path.stat().st_size
    say(f"uploaded s3://{package.bucket}/{package.key} ({size:,} bytes)")
