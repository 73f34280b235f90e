"""Arrays on several devices, and on those of several processes: the bits of whole arrays."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from regularization_client import Client, GroupLasso, Groups, L1Norm, TopK

pytest.importorskip("jax", reason="JAX is not installed: it is the extra 'jax'")

SECONDS = 100
RULES = {
    "rows": GroupLasso(strength=2.0, groups=Groups(axis=0)),
    "top": TopK(count=9),
    "copies": L1Norm(strength=0.5),
    "exempt": None,
}
SHAPES = {"rows": (8, 5), "top": (16, 3), "copies": (6,), "exempt": (8, 2)}

BEGINNING = """
    import json, sys
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec
    from regularization_client import ArgumentError, Client, GroupLasso, Groups, InvalidRequestError, L1Norm
    from regularization_client import SquaredL2Norm, TopK, TotalVariation
    from regularization_client.jax import ProximalState, ProximalStep

    target, rank, port = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if port != "none":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # before 0.5 there are none else
        jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=rank)
    mesh = jax.make_mesh((4,), ("x",))

    def spread(array, *axes):
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    random = np.random.default_rng(0)
    whole = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in (("rows", (8, 5)), ("top", (16, 3)), ("copies", (6,)), ("exempt", (8, 2)))
    }
    params = {name: spread(array, *(() if name == "copies" else ("x",))) for name, array in whole.items()}
    rules = {
        "rows": GroupLasso(strength=2.0, groups=Groups(axis=0)),
        "top": TopK(count=9),
        "copies": L1Norm(strength=0.5),
        "exempt": None,
    }
    client, shards = Client(target), lambda array: array.addressable_shards
"""

ON_FOUR_DEVICES = """
    assert len(jax.devices()) == 4
    prox = ProximalStep(client, rules)
    new, state = prox.apply(params, prox.init(params), 0.5)
    for name, array in params.items():
        assert new[name].sharding == array.sharding, name
    new = jax.jit(lambda tree: tree)(new)
    columns = spread(whole["exempt"].T.copy(), None, "x")
    tv = ProximalStep(client, TotalVariation(strength=0.5)).apply(columns, ProximalState(), 0.5)[0]
    assert tv.sharding == columns.sharding
    on_second = jax.device_put(whole["copies"], jax.devices()[1])
    moved = ProximalStep(client, L1Norm(strength=0.5)).apply(on_second, ProximalState(), 0.5)[0]
    assert moved.devices() == {jax.devices()[1]}
    print(json.dumps({name: np.asarray(array).tolist() for name, array in new.items()}))
"""

IN_TWO_PROCESSES = """
    prox = ProximalStep(client, rules)
    new, state = prox.apply(params, prox.init(params), 0.5)
    refused = []
    for tree, rule in (
        ({"columns": spread(whole["exempt"].T.copy(), None, "x")}, L1Norm(strength=0.5)),
        ({"rows": params["rows"]}, TotalVariation(strength=0.5)),
    ):
        try:
            ProximalStep(client, rule).apply(tree, ProximalState(), 0.5)
        except (ArgumentError, InvalidRequestError) as error:
            refused.append(str(error))
    halves = jax.make_mesh((2, 2), ("processes", "x"))
    twice = NamedSharding(halves, PartitionSpec("x"))
    array = jax.make_array_from_callback((8, 5), twice, lambda index: whole["rows"][index])
    decayed = ProximalStep(client, SquaredL2Norm(strength=2.0)).apply(array, ProximalState(), 0.5)[0]
    shown = {
        name: [[each.index[0].start or 0, np.asarray(each.data).tolist()] for each in shards(array)]
        for name, array in (*new.items(), ("twice", decayed))
    }
    counts = {name: figures.nonzeros for name, figures in state.last.segments.items()}
    print(json.dumps({"shown": shown, "refused": refused, "counts": counts}))
"""


def started(script: str, target: str, rank: int, port: str, devices: int) -> subprocess.Popen[str]:
    """A process that runs a script on so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BEGINNING) + textwrap.dedent(script), target, str(rank), port],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> Any:
    """What it printed last."""
    out, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, error
    return json.loads(out.splitlines()[-1])


def expected(client: Client) -> dict[str, Any]:
    """The new parameters by a call on whole arrays."""
    random = np.random.default_rng(0)
    whole = {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    return dict(client.proximal_step(whole, RULES, step_size=0.5).parameters)


def test_arrays_on_several_devices_come_back_where_they_were(client: Client, target: str) -> None:
    """Of one process all regularizers work, whatever the sharding, and shardings stay."""
    new = answer(started(ON_FOUR_DEVICES, target, 0, "none", 4))
    for name, array in expected(client).items():
        np.testing.assert_array_equal(np.array(new[name], np.float32), array)


def test_rows_in_two_processes_have_the_bits_of_whole_arrays(client: Client, target: str) -> None:
    """Each sends its rows, and a threshold of all is found together; what cannot be is refused, and why."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [started(IN_TWO_PROCESSES, target, rank, port, 2) for rank in (0, 1)]
    try:
        answers = [answer(each) for each in processes]
    finally:
        for each in processes:
            each.kill()
    whole = expected(client)
    for name, array in whole.items():
        got = np.full(array.shape, np.nan, np.float32)
        for each in answers:
            for first, rows in each["shown"][name]:
                got[first : first + len(rows)] = rows
        np.testing.assert_array_equal(got, array)
    counts = [each["counts"] for each in answers]
    assert sum(each["top"] for each in counts) == 9
    assert sum(each["rows"] for each in counts) == np.count_nonzero(whole["rows"])
    assert [each["copies"] for each in counts] == [np.count_nonzero(whole["copies"])] * 2
    random = np.random.default_rng(0)
    decayed = random.normal(size=SHAPES["rows"]).astype(np.float32) * np.float32(0.5)
    for each in answers:
        for first, rows in each["shown"]["twice"]:
            np.testing.assert_array_equal(np.array(rows, np.float32), decayed[first : first + len(rows)])
        columns, line = each["refused"]
        assert "'columns' must be spread over processes by rows" in columns
        assert "must not cut segment" in line
