"""Documents with public keys, fetched over HTTP with bounds on size, redirects and time."""

import ssl
from collections.abc import Mapping

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
_CHUNK = 65_536


async def fetch_keys(url: str, headers: Mapping[str, str], *, limit: int, verify_peer: bool, ca_file: str) -> bytes:
    """Get a document; raise OSError, TimeoutError or ValueError with a sentence that holds none of it.

    Redirects are not followed: they could lead a request with its headers to where nobody meant it to go.
    """
    secure = _context(verify_peer=verify_peer, ca_file=ca_file)
    wanted = {"Accept": "application/json", **headers}
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False) as session,
            session.get(url, headers=wanted, ssl=secure, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError(f"the answer's status is {response.status}, and not 200")
            data = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                data += chunk
                if len(data) > limit:
                    raise ValueError(f"the answer is larger than {limit} bytes")
            return bytes(data)
    except aiohttp.ClientError as error:
        raise OSError(type(error).__name__) from None


def _context(*, verify_peer: bool, ca_file: str) -> ssl.SSLContext | bool:
    if not verify_peer:
        return False
    return ssl.create_default_context(cafile=ca_file) if ca_file else True
