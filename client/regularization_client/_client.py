"""The client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TypeAlias, Unpack, overload

import grpc
import numpy as np
import numpy.typing as npt
from regularization.v1 import catalogue_pb2, plan_pb2

from ._config import CallOptions, Compression, Retry, Tls, check_names, checked_timeout
from ._errors import ArgumentError
from ._request.array_call import array_call
from ._request.arrays import AnyArray, Arrays
from ._request.call import Call
from ._request.layout import Regularizers, StepSizes
from ._request.method import GRADIENT, PENALTY, PROXIMAL_STEP
from ._results import GradientResult, PenaltyResult, ProximalStepResult, Summary
from ._transport.base import Conditions, Transport
from ._transport.catalogue import list_plans, list_regularizers
from ._transport.connection import Connection
from ._transport.gathered import Gathered
from ._transport.in_shared_memory import InSharedMemory
from ._transport.lane import Token
from ._transport.sharded import Sharded
from ._transport.shared_memory import Shape, Shared, SharedMemory
from ._transport.unaliased import Unaliased
from .training._calls import TrainingCalls

Named: TypeAlias = Mapping[str, npt.ArrayLike]

_SMALLEST_CHUNK = 64
_LARGEST_CHUNK = 3 << 20
_MOST_STREAMS = 64


class Client(TrainingCalls):
    """Penalty, gradient and proximal step of regularizers, computed by a regularization server.

    A client may be used by several threads at once. It is a context manager; ``close`` it otherwise.

    Args:
        target: Where the server is: "localhost:50051", "unix:/run/regularization.sock", or another of grpc's
            forms, such as "dns:///regularization:50051"; or several replicas, which take turns: a sequence of
            "host:port", or of "unix:/path". A name needs its port. None starts a server of the client's own
            in this process, which needs the extra ``server`` of the package.
        timeout: Seconds that a call may take, replays included, where it does not say otherwise; None for no
            limit.
        retry: What to do where a server goes away or stops; None for the defaults of ``Retry``.
        chunk_bytes: The most bytes of parameters and operands in one message, 64 to 3 MiB. The results do not
            depend on it, to the bit.
        tls: Encrypt the connection; None sends everything in the clear.
        token: Sent with every call as ``authorization: Bearer …``; a callable is asked anew for each. Over a
            network it needs ``tls``. A target on this host is reached directly, also where ``http_proxy`` is
            set; others go through the proxy that it names, as ever with grpc.
        compression: "gzip" or "deflate", to compress what is sent, for links that are slower than a processor
            compresses: parameters in training hardly shrink. Answers come as they are; those that are mostly
            zeros come sparse: see ``CallOptions``. None sends everything as it is.
        channel: A channel to use in place of a target. The caller configures it, and closes it.

    Raises:
        ArgumentError: If the arguments do not fit together.
        EmbeddedServerError: If there is no target, and the server extra is not installed.

    Example:
        >>> import numpy as np
        >>> from regularization_client import Client, L1Norm
        >>> theta = np.array([0.8, -0.3, 0.5])
        >>> with Client() as client:
        ...     step = client.proximal_step(theta, L1Norm(strength=0.1), step_size=1.0)
        >>> step.parameters
        array([ 0.7, -0.2,  0.4])
    """

    def __init__(
        self,
        target: str | Sequence[str] | None = None,
        *,
        timeout: float | None = 60.0,
        retry: Retry | None = None,
        chunk_bytes: int = 1 << 20,
        tls: Tls | None = None,
        token: Token | None = None,
        compression: Compression | None = None,
        channel: grpc.Channel | None = None,
    ) -> None:
        if not _SMALLEST_CHUNK <= chunk_bytes <= _LARGEST_CHUNK:
            raise ArgumentError(
                f"chunk_bytes must be from {_SMALLEST_CHUNK} to {_LARGEST_CHUNK}, got {chunk_bytes}"
            )
        self._timeout = checked_timeout(timeout)
        self._retry = retry if retry is not None else Retry()
        self._chunk_bytes = chunk_bytes
        self._connection = Connection(
            target,
            tls=tls,
            token=token,
            compression=compression,
            channel=channel,
            longest_silence=self._retry.longest_silence,
        )
        self._memory = SharedMemory(self._connection.address)
        in_chunks = Unaliased(Sharded(self._connection))
        of_parts = InSharedMemory(self._connection, self._memory, otherwise=in_chunks)
        self._transport: Transport = Gathered(self._connection, of_parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, and stop the embedded server if there is one. Closing again does nothing.

        Shared arrays stay valid, as ordinary memory.
        """
        self._memory.close()
        self._connection.close()

    def shared_array(self, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Shared[AnyArray]:
        """Return an array of zeros in memory that is shared with the server, which must be on this host.

        A call whose parameters, operands and ``out`` all are such arrays, or contiguous parts of them, or
        tensors of other libraries that view them, sends no elements: the server works on them where they
        are. Its result says so: ``shared``. Any other call works as it does without, so give ``out``: without
        it the result is an ordinary array, and everything travels.

        ``out`` may be the parameters or an operand themselves, exactly. Where a call fails, ``out`` may hold
        old and new elements. Where the server goes away, a call with another ``out`` is replayed once that
        server is gone for sure; one in place is not, unless the server refused it. Until a call has returned,
        nobody may write to its arrays; after one that ran out of time, was interrupted or found the server
        unavailable, the server may go on writing to ``out`` for a moment.

        The memory is freed once no call uses it any more after the array is released, or the client closed,
        or this process at its end. Processes forked from this one write to the same memory, not to copies,
        and hold on to it; they must not use the client.

        Args:
            shape: The array's shape.
            dtype: Its data type, one of those that calls take.

        Raises:
            SharedMemoryError: If the target is not one Unix socket, or the server has no room.
            UnavailableError: If no server is there.

        Example:
            >>> from regularization_client import Client, L1Norm
            >>> with Client() as client, client.shared_array(3) as theta:
            ...     theta[:] = 0.75, -0.25, 0.5
            ...     step = client.proximal_step(theta, L1Norm(strength=0.25), step_size=1.0, out=theta)
            ...     print(theta, step.shared)
            [0.5  0.   0.25] True
        """
        shared = self.shared_arrays({"": shape}, dtype)
        return Shared(shared.arrays[""], shared.release)

    def shared_arrays(
        self, shapes: Mapping[str, Shape], dtype: npt.DTypeLike = np.float32
    ) -> Shared[dict[str, AnyArray]]:
        """Return arrays of zeros by name, side by side in memory shared with the server: a whole model.

        A call takes them all together, as a mapping in this order. See ``shared_array``.

        Args:
            shapes: The arrays' shapes by name.
            dtype: The data type of all of them, as a call takes but one.

        Raises:
            SharedMemoryError: If the target is not one Unix socket, or the server has no room.
            UnavailableError: If no server is there.
        """
        return self._memory.arrays(shapes, dtype, self._conditions(CallOptions()))

    def penalty(
        self,
        parameters: Arrays,
        regularizer: Regularizers,
        *,
        reference: Arrays | None = None,
        weights: Arrays | None = None,
        **options: Unpack[CallOptions],
    ) -> PenaltyResult:
        """Compute the penalty Ω(θ), strength included.

        Args:
            parameters: θ: an array of any shape, or a mapping of name to array; float16, bfloat16,
                float32 or float64. **Integers are fixed point**: int8 is Q7, int16 is Q15 and int32 is
                Q31, each the number times 2^7, 2^15 or 2^31, from -1 to just below 1; see ``to_fixed_point``.
            regularizer: One of the schema's messages, for instance ``L1Norm(strength=1e-4)``, or None:
                exempt; with bounds or smoothed, a ``Modified`` of it; of several arrays as one, a ``Joint``;
                or a ``Planned``: by a plan, at a step of training.
                For a mapping of parameters it may be one of name or ``fnmatch`` pattern to such. A name's
                own entry comes first, then the first pattern that it matches, in order. An entry that is
                left nothing to match is an error, and so is a name that no entry matches: exempt what is
                left with a last ``"*": None``.
            reference: r, to penalize θ - r in place of θ: as the parameters are, or a mapping of some of
                their names.
            weights: Multipliers of the strength, element by element, >= 0; of total variation and the fused
                lasso, of the difference between an element and the next one. As the reference is.
            **options: See ``CallOptions``: timeout, progress, figures, non_finite, streams, part, gather. The
                others are about results, of which there are none.

        Raises:
            RegularizationError: If the call fails: see the tree there.
        """
        operands = {"reference": reference, "weights": weights}
        call, _ = array_call(PENALTY, parameters, regularizer, operands, self._known(options))
        return PenaltyResult(**vars(self._carried_out(call, options)))

    @overload
    def gradient(
        self,
        parameters: Named,
        regularizer: Regularizers,
        *,
        loss_gradients: Named | None = None,
        reference: Named | None = None,
        weights: Named | None = None,
        out: Named | None = None,
        **options: Unpack[CallOptions],
    ) -> GradientResult[dict[str, AnyArray]]: ...

    @overload
    def gradient(
        self,
        parameters: npt.ArrayLike,
        regularizer: Regularizers,
        *,
        loss_gradients: npt.ArrayLike | None = None,
        reference: npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        out: npt.ArrayLike | None = None,
        **options: Unpack[CallOptions],
    ) -> GradientResult[AnyArray]: ...

    def gradient(
        self,
        parameters: Arrays,
        regularizer: Regularizers,
        *,
        loss_gradients: Arrays | None = None,
        reference: Arrays | None = None,
        weights: Arrays | None = None,
        out: Arrays | None = None,
        **options: Unpack[CallOptions],
    ) -> GradientResult[AnyArray] | GradientResult[dict[str, AnyArray]]:
        """Compute the minimum-norm subgradient of Ω at θ, plus the loss gradient where one is given.

        Args:
            parameters: See ``penalty``.
            regularizer: See ``penalty``.
            loss_gradients: g, to return g + ∂Ω. As the parameters are, or a mapping of some of their names.
            reference: See ``penalty``.
            weights: See ``penalty``.
            out: Where to write the result, structured as the parameters are: arrays, or what gives NumPy a
                view, such as a tensor of PyTorch. It may be the parameters or an operand themselves, which
                then change only once the call has succeeded (but see ``shared_array``); any other is left
                partly written by a call that fails.
            **options: See ``CallOptions``: timeout, progress, figures, non_finite, rounding, seed,
                sparse, streams, part, gather.

        Raises:
            GradientUndefinedError: If θ is outside the set of an indicator.
            RegularizationError: If the call fails in another way: see the tree there.
        """
        operands = {"loss_gradients": loss_gradients, "reference": reference, "weights": weights}
        call, result = array_call(GRADIENT, parameters, regularizer, operands, self._known(options), out=out)
        return GradientResult(gradient=result, **vars(self._carried_out(call, options)))

    @overload
    def proximal_step(
        self,
        parameters: Named,
        regularizer: Regularizers,
        *,
        step_size: StepSizes,
        loss_gradients: Named | None = None,
        reference: Named | None = None,
        weights: Named | None = None,
        step_scales: Named | None = None,
        out: Named | None = None,
        **options: Unpack[CallOptions],
    ) -> ProximalStepResult[dict[str, AnyArray]]: ...

    @overload
    def proximal_step(
        self,
        parameters: npt.ArrayLike,
        regularizer: Regularizers,
        *,
        step_size: StepSizes,
        loss_gradients: npt.ArrayLike | None = None,
        reference: npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        step_scales: npt.ArrayLike | None = None,
        out: npt.ArrayLike | None = None,
        **options: Unpack[CallOptions],
    ) -> ProximalStepResult[AnyArray]: ...

    def proximal_step(
        self,
        parameters: Arrays,
        regularizer: Regularizers,
        *,
        step_size: StepSizes,
        loss_gradients: Arrays | None = None,
        reference: Arrays | None = None,
        weights: Arrays | None = None,
        step_scales: Arrays | None = None,
        out: Arrays | None = None,
        **options: Unpack[CallOptions],
    ) -> ProximalStepResult[AnyArray] | ProximalStepResult[dict[str, AnyArray]]:
        """Compute ``argmin over y of Ω(y) + |y - v|² / (2·step_size)``.

        Here v = θ, or v = θ - step_size·g with a loss gradient g: then the call is one whole step of proximal
        gradient descent.

        Args:
            parameters: See ``penalty``.
            regularizer: See ``penalty``.
            step_size: >= 0; for a mapping of parameters maybe a mapping of name or pattern to number, which
                must cover them all.
            loss_gradients: g. As the parameters are, or a mapping of some of their names.
            reference: See ``penalty``.
            weights: See ``penalty``.
            step_scales: Multipliers of the step size, element by element, >= 0. As the loss gradients are.
            out: See ``gradient``.
            **options: See ``CallOptions``: timeout, progress, figures, non_finite, rounding, seed,
                sparse, streams, part, gather.

        Raises:
            RegularizationError: If the call fails: see the tree there.
        """
        operands = {
            "loss_gradients": loss_gradients,
            "reference": reference,
            "weights": weights,
            "step_scales": step_scales,
        }
        call, result = array_call(
            PROXIMAL_STEP,
            parameters,
            regularizer,
            operands,
            self._known(options),
            step_size=step_size,
            out=out,
        )
        return ProximalStepResult(parameters=result, **vars(self._carried_out(call, options)))

    def list_regularizers(
        self, *, timeout: float | None = None
    ) -> tuple[catalogue_pb2.RegularizerDescription, ...]:
        """Return what the server says of each regularizer that it knows: formulas, parameters, traits.

        Args:
            timeout: Seconds that the call may take; None for the client's.

        Raises:
            RegularizationError: If the call fails: see the tree there.
        """
        return list_regularizers(self._connection, self._asking(timeout))

    def list_plans(self, *, timeout: float | None = None) -> tuple[plan_pb2.HeldPlan, ...]:
        """Return the plans that the server holds, which a ``Planned`` may name; see ``list_regularizers``."""
        return list_plans(self._connection, self._asking(timeout))

    def _asking(self, timeout: float | None) -> Conditions:
        """How a call without options is carried out."""
        return self._conditions(CallOptions() if timeout is None else CallOptions(timeout=timeout))

    def _carried_out(self, call: Call, options: CallOptions) -> Summary:
        return self._transport.carry_out(call, self._conditions(options))

    def _known(self, options: CallOptions) -> CallOptions:
        """Return the options with the default of ``sparse``, which is the connection's."""
        check_names(options)
        return {"sparse": self._connection.leaves_host, **options}

    def _conditions(self, options: CallOptions) -> Conditions:
        streams = options.get("streams", 1)
        if not 1 <= streams <= _MOST_STREAMS:
            raise ArgumentError(f"streams must be from 1 to {_MOST_STREAMS}, got {streams}")
        if options.get("gather") is not None and options.get("part") is None:
            raise ArgumentError("gather is for a part: say with part which one this is")
        return Conditions(
            timeout=checked_timeout(options.get("timeout", self._timeout)),
            retry=self._retry,
            chunk_bytes=self._chunk_bytes,
            progress=options.get("progress"),
            streams=streams,
            gather=options.get("gather"),
        )
