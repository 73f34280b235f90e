"""Who calls: the name by which a caller's calls and memory are counted together."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import unquote

from regularization_kernels.errors import RegularizationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import grpc

    from .authorization import Authorize

_NETWORK_BITS = 64
"""Bits of an IPv6 address that a network is known by: whoever has one address of it has all."""

_CERTIFICATE_NAMES = ("x509_common_name", "x509_subject_alternative_name")
"""What gRPC says of a certificate that it has checked: the subject's name, or else its other names."""


_PEERS_REMEMBERED = 1024
"""Connections whose address is not read again at every call."""


class CallerKind(Enum):
    """What a caller is known by, from the surest on."""

    TOKEN = "token"  # noqa: S105 - a word, and no secret
    """The name of the token that it shows."""
    CERTIFICATE = "certificate"
    """The subject of its certificate."""
    ADDRESS = "address"
    """Where it is: its address without the port, of IPv6 the network."""
    HOST = "host"
    """That it calls over a Unix socket: gRPC does not say which user that is, so all of these are one."""


class Caller(NamedTuple):
    """Who makes a call."""

    kind: CallerKind
    name: str


def caller_of(transport: grpc.ServicerContext, token_name: str | None = None) -> Caller:
    """Who makes a call.

    Args:
        transport: gRPC's context of it.
        token_name: The name of the token that it has shown; None where it has shown none with a name.
    """
    if token_name is not None:
        return Caller(CallerKind.TOKEN, token_name)
    peer = transport.peer()
    if peer.startswith("unix"):
        return Caller(CallerKind.HOST, "")
    certificate = cast("Mapping[str, Iterable[bytes]]", transport.auth_context())
    for names in _CERTIFICATE_NAMES:
        name = b",".join(certificate.get(names, ())).decode(errors="backslashreplace")
        if name:
            return Caller(CallerKind.CERTIFICATE, name)
    return Caller(CallerKind.ADDRESS, address_in(peer))


def caller_shown(transport: grpc.ServicerContext, authorize: Authorize | None) -> Caller:
    """Who makes a call of which nothing was looked at yet; without the right token, where it comes from.

    Args:
        transport: gRPC's context of it.
        authorize: Looks at the token that it shows; None where none is asked for.
    """
    try:
        token_name = None if authorize is None else authorize(transport.invocation_metadata())
    except RegularizationError:
        token_name = None
    return caller_of(transport, token_name)


@lru_cache(_PEERS_REMEMBERED)
def address_in(peer: str) -> str:
    """The address in gRPC's name of a peer, without the port; of IPv6 its network."""
    found = re.fullmatch(r"ipv[46]:\[?(.*?)\]?(?::\d+)?", unquote(peer))
    if found is None:
        return peer
    try:
        address = IPv6Address(found[1].partition("%")[0])
    except AddressValueError:
        return found[1]
    mapped = address.ipv4_mapped
    return str(IPv6Network((address, _NETWORK_BITS), strict=False) if mapped is None else mapped)
