"""What of an import did not work: told in the end, while all the rest is done."""

_SHOWN = 50
_LONGEST = 300


class Problems:
    """Collect sentences; of many only the first ones are kept."""

    def __init__(self) -> None:
        self.count = 0
        self._sentences: list[str] = []

    def add(self, where: str, reason: str) -> None:
        """Say what did not work, and why; neither holds a secret."""
        self.count += 1
        if len(self._sentences) < _SHOWN:
            self._sentences.append(f"{where[:_LONGEST]}: {reason[:_LONGEST]}")

    def text(self) -> str:
        """Tell them in one sentence."""
        more = self.count - len(self._sentences)
        return "; ".join([*self._sentences, *([f"and {more} more"] if more else [])])
