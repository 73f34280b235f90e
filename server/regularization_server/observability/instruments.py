"""Every metric that the server exports, stated once: what it counts, in what, and by which labels.

Names of calls follow gRFC A66 (OpenTelemetry metrics of gRPC), as Prometheus writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

METHOD, STATUS = "grpc_method", "grpc_status"
"""Labels of a call: ``package.Service/Method``, or ``other`` where there is none; and ``OK`` or kin."""

SECONDS = (
    *(0.0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006),
    *(0.008, 0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25),
    *(0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
)
"""Bounds of latencies in gRFC A66."""

BYTES = (0, 1 << 10, 1 << 11, 1 << 12, *(1 << power for power in range(14, 33, 2)))
"""Bounds of sizes in gRFC A66."""

Made: TypeAlias = "Counter | Gauge | Histogram"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric before it is made.

    Attributes:
        words: What it is, as its help says.
        labels: Names of its labels.
        bounds: Of a histogram: upper bounds of its buckets.
        together: Of a gauge: what several processes have together, their sum or the last value that was set.
    """

    words: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    together: Literal["sum", "last"] | None = None


INSTRUMENTS: dict[str, Instrument] = {
    "grpc_server_call_started": Instrument("Calls that began.", (METHOD,)),
    "grpc_server_call_duration_seconds": Instrument(
        "Time from a call's first byte to its status.", (METHOD, STATUS), SECONDS
    ),
    "grpc_server_call_rcvd_total_compressed_message_size_bytes": Instrument(
        "Bytes of a call's request messages, after decompression.", (METHOD, STATUS), BYTES
    ),
    "grpc_server_call_sent_total_compressed_message_size_bytes": Instrument(
        "Bytes of a call's response messages, before compression.", (METHOD, STATUS), BYTES
    ),
    "regularization_elements": Instrument(
        "Elements that calls received (streamed), or that lay in shared memory for them (shared).",
        (METHOD, "memory"),
    ),
    "regularization_refusals": Instrument(
        "Calls that were refused, by ErrorReason without its prefix, and for want of room by whose: the "
        "server's, or a caller's, by the name of its token.",
        ("reason", "scope", "token"),
    ),
    "regularization_faults": Instrument("Calls that ended with INTERNAL: faults of the server."),
    "regularization_calls_in_flight": Instrument("Calls in flight.", together="sum"),
    "regularization_calls_limit": Instrument(
        "Calls in flight beyond which new ones are refused.", together="sum"
    ),
    "regularization_long_computations_wait_seconds": Instrument(
        "Seconds that decompositions and long sorts waited for a core."
    ),
    "regularization_memory_budget_used_bytes": Instrument(
        "Bytes that calls hold of the budget.", together="sum"
    ),
    "regularization_memory_budget_limit_bytes": Instrument("Bytes of the memory budget.", together="sum"),
    "regularization_shared_memory_regions": Instrument("Regions of shared memory.", together="sum"),
    "regularization_shared_memory_regions_limit": Instrument("Regions that there may be.", together="sum"),
    "regularization_shared_memory_used_bytes": Instrument("Bytes of all regions.", together="sum"),
    "regularization_shared_memory_limit_bytes": Instrument("Bytes that regions may have.", together="sum"),
    "regularization_plan_step": Instrument(
        "Step of training of the last call that named the plan.", ("plan",), together="last"
    ),
    "regularization_plan_penalty": Instrument(
        "Penalty of a segment in the last call that named the plan.", ("plan", "segment"), together="last"
    ),
    "regularization_plan_nonzeros_ratio": Instrument(
        "Share of a segment's elements that are not 0 in that call's result.",
        ("plan", "segment"),
        together="last",
    ),
    "regularization_plan_segments_left_out": Instrument(
        "Times that a plan's segment was not exported, because as many are as may be."
    ),
    "regularization_server_processes": Instrument("Server processes that run.", together="sum"),
    "regularization_server_starts": Instrument("Starts of server processes."),
    "process_cpu_seconds": Instrument("Processor time of the server's processes."),
    "process_resident_memory_bytes": Instrument("Resident memory of the server's processes.", together="sum"),
    "process_threads": Instrument("Threads of the server's processes.", together="sum"),
    "process_open_fds": Instrument("Open files of the server's processes.", together="sum"),
    "process_max_fds": Instrument("Files that the server's processes may open.", together="sum"),
}
"""Every metric by its name; a counter's has ``_total`` behind it where it is exported."""

_OF_LIVING = {"sum": "livesum", "last": "livemostrecent"}


class Instruments:
    """Every metric, made.

    Args:
        registry: Where they are collected from.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._made: dict[str, Made] = {
            name: _made(name, instrument, registry) for name, instrument in INSTRUMENTS.items()
        }

    def counter(self, name: str) -> Counter:
        """The counter of this name."""
        made = self._made[name]
        assert isinstance(made, Counter)  # noqa: S101 - the table says so
        return made

    def gauge(self, name: str) -> Gauge:
        """The gauge of this name."""
        made = self._made[name]
        assert isinstance(made, Gauge)  # noqa: S101 - the table says so
        return made

    def histogram(self, name: str) -> Histogram:
        """The histogram of this name."""
        made = self._made[name]
        assert isinstance(made, Histogram)  # noqa: S101 - the table says so
        return made


def exported_name(name: str) -> str:
    """What a metric is called where it is exported."""
    instrument = INSTRUMENTS[name]
    is_counter = not instrument.bounds and instrument.together is None
    return f"{name}_total" if is_counter else name


def _made(name: str, instrument: Instrument, registry: CollectorRegistry) -> Made:
    if instrument.bounds:
        return Histogram(
            name, instrument.words, instrument.labels, registry=registry, buckets=instrument.bounds
        )
    if instrument.together is None:
        return Counter(name, instrument.words, instrument.labels, registry=registry)
    mode = _OF_LIVING[instrument.together]
    return Gauge(name, instrument.words, instrument.labels, registry=registry, multiprocess_mode=mode)  # type: ignore[arg-type] # both are modes
