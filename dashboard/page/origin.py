"""Which pages may connect to this one: itself, at its own address. Pure.

Streamlit refuses names that the server does not have (`server.allowedHosts`), and pages of other
machines; but it takes any page of this machine, on whatever port another program serves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from genptq_core.cli.dashboard import LOOPBACK


def foreign(origin: str | None, host: str | None, allowed: Sequence[str]) -> bool:
    """Whether a connection was opened by a page of another address.

    Args:
        origin: the address of the page that opened it, as its browser says; programs name none.
        host: the name and port under which the server was reached.
        allowed: names of the server; those of proxies among them may stand for it.
    """
    if not origin:
        return False
    try:
        address = urlsplit(origin)
        name = (address.hostname or "").rstrip(".")
    except ValueError:
        return True
    if address.netloc and address.netloc == host:
        return False
    return name in LOOPBACK or name not in [other.strip().lower() for other in allowed]
