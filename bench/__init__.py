"""What the pipeline costs, measured beside what people use instead: `make bench`."""

import sys
from pathlib import Path

# Two measurements take the tests' stand-ins; their modules know each other by their plain names.
sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
