"""Addresses that a page is served at, and who can reach them."""

from __future__ import annotations

import ipaddress
import socket


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened at; viser would retry others, perhaps without end.

    Raises:
        OSError: naming host and port, and the remedy.
    """
    if not 0 <= port < 65536:
        raise OSError(f"port {port}: give one from 0 to 65535; 0 takes any free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OSError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}; another --port may "
            "be free, and --port 0 takes any free one"
        ) from error
