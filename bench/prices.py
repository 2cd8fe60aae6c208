"""Prices for the calculations of what the Lambda and a month of the pipeline cost."""

from typing import Any

# In US dollars, for us-east-1 in 2025; check them before you rely on a sum. For other
# prices: --prices FILE, with the same members.
PRICES: dict[str, Any] = {
    "source": "AWS prices as known, not looked up: Lambda (arm64), SQS and S3 standard, us-east-1",
    "date": "2025",
    "Lambda, a million requests": 0.20,
    "Lambda, a GB-second": 0.0000133334,
    "SQS, a million requests": 0.40,
    "S3, a million GET or HEAD requests": 0.40,
    "S3, a million PUT requests": 5.00,
    "S3, a GB and month": 0.023,
    "CloudWatch, a GB of logs": 0.50,
    "CloudWatch, an alarm and month": 0.10,
    "Secrets Manager, a secret and month": 0.40,
    "ClickHouse source": "ClickHouse Cloud, billing overview, plan Basic, AWS us-east-1",
    # 8 GiB and 2 vCPU. The plan Scale has two replicas at 0.2993 each.
    "ClickHouse, a compute unit and hour": 0.2187,
    "ClickHouse, a TB and month": 25.30,
}
