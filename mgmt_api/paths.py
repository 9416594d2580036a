"""Paths whose parameters may hold anything, `/` and braces included, as long as it is percent-encoded.

aiohttp's own dynamic paths refuse braces and pass on bytes that are no UTF-8; client ids and topics need both right.
"""

from urllib.parse import unquote

from aiohttp import web


class SegmentPath:
    """Match a path segment by segment, each decoded by itself; an empty segment fills no parameter."""

    def __init__(self, template: str) -> None:
        self._segments = [
            (segment[1:-1], "") if segment.startswith("{") else ("", segment) for segment in template.split("/")
        ]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parameters of a path that is percent-encoded, at least where a parameter holds `/` or `%`."""
        segments = path.split("/")
        if len(segments) != len(self._segments):
            return None
        found: dict[str, str] = {}
        for (parameter, literal), segment in zip(self._segments, segments, strict=True):
            if not parameter:
                if segment != literal:
                    return None
                continue
            try:
                found[parameter] = unquote(segment, errors="strict")
            except UnicodeDecodeError:
                return None
            if not segment:
                return None
        return found


class SegmentResource(web.DynamicResource):
    """Let aiohttp find a `SegmentPath`."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._template = path
        self._segment_path = SegmentPath(path)

    def raw_match(self, path: str) -> bool:
        """Tell whether this is the resource of a path template."""
        return path == self._template

    def _match(self, path: str) -> dict[str, str] | None:
        """Match aiohttp's `path_safe`: decoded but for %2F, %25 and what is no UTF-8."""
        return self._segment_path.match(path)
