"""Where webhooks may go: public addresses only, told from what the name leads to, not from how it is written."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

__all__ = ["AddressError", "Target", "check_url", "checked_address"]

_LONGEST = 2000
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressError(Exception):
    """Webhooks may not go there; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A checked address.

    Attributes:
        host: Name of the receiver: for its certificate.
        host_header: Name and port as the receiver expects them.
        pinned_url: The URL with the checked IP address in place of the name.
    """

    host: str
    host_header: str
    pinned_url: str


def check_url(url: str, *, allow_private: bool) -> SplitResult:
    """Refuses what can be refused without asking for the name's address.

    Raises:
        AddressError: No URL, not https, with credentials, or too long.
    """
    if len(url) > _LONGEST or not url.isascii() or not url.isprintable() or " " in url:
        raise AddressError(f"not a URL of at most {_LONGEST} plain characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressError("not a URL") from None
    if parts.scheme not in (("https", "http") if allow_private else ("https",)):
        raise AddressError("expected an https:// address")
    if not parts.hostname or "\\" in url:
        raise AddressError("the address names no host")
    if parts.username is not None or parts.password is not None:
        raise AddressError("the address must not hold a name or password")
    if port == 0:
        raise AddressError("port 0 cannot be reached")
    return parts


def checked_address(url: str, *, allow_private: bool) -> Target:
    """Asks for the addresses of the host, and refuses it if any of them is not public. Waits for the name service.

    Raises:
        AddressError: See `check_url`; or the name is not known, or leads to a private, loopback, link-local, reserved
            or multicast address.
    """
    parts = check_url(url, allow_private=allow_private)
    host = parts.hostname or ""
    port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressError("the host is not known") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses or (not allow_private and not all(_is_public(address) for address in addresses)):
        raise AddressError("private, loopback and link-local addresses are refused")
    address = addresses[0]
    literal = f"[{address}]" if address.version == 6 else str(address)
    netloc = f"{literal}:{port}"
    return Target(
        host=host,
        host_header=parts.netloc,
        pinned_url=parts._replace(netloc=netloc, fragment="").geturl(),
    )


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        # An IPv4 address in IPv6 clothes is judged as what it is.
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved
