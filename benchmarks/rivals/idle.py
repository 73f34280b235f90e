"""Idle streams to an echo server, from a process of their own: ``python -m benchmarks.rivals.idle``.

Each stream sends one message and takes its answer, so that the server has surely begun to serve it, and then
stays open without a further byte. ``ready`` on standard output says that all are open; they are held until
standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import grpc.aio

from benchmarks.rivals.echo import METHOD

STREAMS_PER_CONNECTION = 100


async def hold(address: str, streams: int) -> None:
    """Opens the streams and holds them."""
    # Channels to the same address with the same options would otherwise share one connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels: list[grpc.aio.Channel] = []
    calls: list[grpc.aio.StreamStreamCall[bytes, bytes]] = []
    for number in range(streams):
        if number % STREAMS_PER_CONNECTION == 0:
            channels.append(grpc.aio.insecure_channel(address, options))
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channels[-1].stream_stream(METHOD)()
        await call.write(bytes(4))
        await call.read()
        calls.append(call)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for call in calls:
        call.cancel()
    for channel in channels:
        await channel.close()


def main() -> None:
    """Holds streams as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--streams", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(hold(arguments.address, arguments.streams))


if __name__ == "__main__":
    main()
