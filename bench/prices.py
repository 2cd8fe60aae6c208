"""Prices for the calculation of the Lambda's cost."""

from typing import Any

# In US dollars. For other prices: --prices FILE, with the same members.
PRICES: dict[str, Any] = {
    "source": "AWS price lists of Lambda (arm64), SQS (standard) and S3 (standard), us-east-1",
    "date": "2025",
    "Lambda, a million requests": 0.20,
    "Lambda, a GB-second": 0.0000133334,
    "SQS, a million requests": 0.40,
    "S3, a million GET or HEAD requests": 0.40,
}
