"""ASGI middleware of the web page that refuses requests which no visitor of the page makes.

A page of another site can make a visitor's browser send requests to this one: from its own origin,
or under its own host name, which it lets lead to this machine (DNS rebinding). Besides, Gradio has
addresses that the page does not need, where the server downloads what a request names, runs
FFmpeg, or edits its own code.
"""

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_UNNEEDED = re.compile(
    r"(/gradio_api)?/(proxy=|file=\s*\w+:|process_recording|(undo-)?vibe|run-history|deep_link)",
    re.IGNORECASE,
)


class RequestGuard:
    """Serves requests under this machine's names, from its own page, for what the page needs."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], *, host: str):
        """
        Args:
            app: the page.
            host: address that it is bound to. If others can reach it, every address of digits is
                allowed, too, and this machine's names: none of them can be another site's.
        """
        self.app = app
        self.is_public = not is_loopback(host)
        self.names = _LOOPBACK | {host.lower()}
        if self.is_public:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_allowed(scope):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"This request is not allowed.\n"})
        else:
            await self.app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        hosts, origins = (
            [value.decode("latin-1").lower() for key, value in scope["headers"] if key == name]
            for name in (b"host", b"origin")
        )
        return (
            len(hosts) == 1
            and self._is_own(hosts[0])
            and all(origin in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in origins)
            and not _UNNEEDED.match(scope["path"])
        )

    def _is_own(self, host: str) -> bool:
        match = re.fullmatch(r"\[?([\w.:-]+?)\]?(:\d+)?", host)
        name = match[1] if match else ""
        return name in self.names or (self.is_public and _is_address(name))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host in _LOOPBACK or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
