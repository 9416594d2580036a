"""What the HTTP server logs about requests that it cannot read: that one came, not what was in it.

aiohttp logs the offending line with a traceback; in a header that is written wrongly this may be a key with its secret.
"""

import logging

from aiohttp.http_exceptions import HttpProcessingError


def create_logger() -> logging.Logger:
    """Make a logger for one server; its records go where this module's go."""
    logger = logging.Logger(__name__)
    logger.parent = logging.getLogger(__name__)
    logger.addFilter(_leave_out_content)
    return logger


def _leave_out_content(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.msg, record.args = "malformed HTTP request refused: %s", (type(error).__name__,)
        record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True
