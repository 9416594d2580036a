"""What SCRAM keys may cost to derive, in iterations."""

from ..errors import Invalid
from .scram import MIN_ITERATIONS

DEFAULT_ITERATIONS = 600_000
"""As hard to guess through, on the hardware that guesses, as the argon2id hash beside it."""

MAX_ITERATIONS = 100_000_000


def check_iterations(iterations: int) -> None:
    """Raise Invalid for fewer than the standard allows, and more than anybody waits for; 0 offers no SCRAM."""
    if iterations and not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise Invalid(f"scram_iterations must be 0 or between {MIN_ITERATIONS} and {MAX_ITERATIONS}.")
