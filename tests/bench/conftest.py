"""The benchmarks are scripts beside each other, which import each other by their bare names."""

import sys
from pathlib import Path

# Behind everything else: a module of theirs hides none of anybody's.
sys.path.append(str(Path(__file__).parent.parent.parent / "bench"))
