"""Targets: where servers are, in the forms that grpc has for it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

import grpc

from .._errors import ArgumentError, UnavailableError


def address_of(target: str | Sequence[str]) -> str:
    """Return one address as grpc understands it, for one target or for several replicas.

    Raises:
        ArgumentError: If a target has no known form, or several cannot be one address.
        UnavailableError: If a name of several cannot be resolved.
    """
    targets = [target] if isinstance(target, str) else list(target)
    if not targets or not all(targets):
        raise ArgumentError(
            'target must be "host:port", "unix:/path", another of grpc\'s, or several "host:port"'
        )
    for each in targets:
        scheme, slashes, rest = each.partition("://")
        if slashes and scheme in ("http", "https"):
            text = f'target must be "host:port", as in "{rest.rstrip("/")}", and tls= encrypts, got {each!r}'
            raise ArgumentError(text)
    if len(targets) == 1:
        _check_port(targets[0])
        return targets[0]
    if all(each.startswith("unix:") for each in targets):
        return "unix:" + ",".join(each.removeprefix("unix:") for each in targets)
    resolved = [_resolve(each) for each in targets]
    for family, scheme in ((socket.AF_INET, "ipv4:"), (socket.AF_INET6, "ipv6:")):
        if all(family in addresses for addresses in resolved):
            return scheme + ",".join(addresses[family] for addresses in resolved)
    raise ArgumentError(f"replicas must all have an IPv4 address, or all an IPv6 one: {', '.join(targets)}")


def single_addresses(address: str) -> list[str]:
    """Return the addresses that grpc's form for several holds."""
    scheme, colon, rest = address.partition(":")
    if scheme not in ("unix", "ipv4", "ipv6"):
        return [address]
    return [f"{scheme}{colon}{each}" for each in rest.split(",")]


def stays_on_host(address: str) -> bool:
    """Whether what is sent to an address cannot leave this machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    hosts = [each.rpartition(":")[0].strip("[]") for each in address.rpartition("/")[2].split(",")]
    return all(
        host.removeprefix("ipv4:").removeprefix("ipv6:").strip("[]") == "localhost" or _loopback(host)
        for host in hosts
    )


def _check_port(target: str) -> None:
    # grpc would take port 443, and say no more than that nobody listens there.
    if not any(sign in target for sign in ":/"):
        raise ArgumentError(f'target must have a port, as in "{target}:50051", got {target!r}')


def _resolve(target: str) -> dict[socket.AddressFamily, str]:
    """Return an address of each family for a "host:port"."""
    host, colon, port = target.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise ArgumentError(
            f'each of several targets must be "host:port", or each "unix:/path", got {target!r}'
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnavailableError(f"{target}: {error}", code=grpc.StatusCode.UNAVAILABLE) from error
    return {
        family: f"[{address[0]}]:{port}" if family == socket.AF_INET6 else f"{address[0]}:{port}"
        for family, *_, address in reversed(found)
    }


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.removeprefix("ipv4:").removeprefix("ipv6:").strip("[]")).is_loopback
    except ValueError:
        return False
