"""One rank of a process group, as a program: steps of every row of the catalogue on its part of a model.

It writes what all ranks should have in the end: of each row the digest of the whole parameter, and how many
exchanges the step took.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_client import (
    Client,
    GroupLasso,
    Groups,
    Joint,
    L1Norm,
    NuclearNorm,
    RegularizationError,
    TopK,
)

from tests.support.cases import MAPS, ROWS
from tests.support.instances import message_of

STEP_SIZE = 0.5
INSTANCES = 1
"""How many of each row."""


def rows() -> Iterator[tuple[str, Any, NDArray[np.float32]]]:
    """Name, regularizer and parameters of the first instances of every row of the catalogue."""
    for row in (*ROWS, *MAPS):
        for name, (regularizer, shape) in islice(row.instances.items(), INSTANCES):
            if shape and shape[0]:
                seed = [len(row.name), len(name), *shape]
                values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
                yield f"{row.name}: {name}", message_of(regularizer), values


def digest(*arrays: Any) -> str:
    """The SHA-256 of arrays, one after the other."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


class Rank:
    """This process, as a rank of a group, and what it does."""

    def __init__(self, rank: int, size: int, store: str, client: Client) -> None:
        import torch
        from torch import distributed
        from torch.distributed.device_mesh import init_device_mesh

        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
        self.torch = torch
        self.mesh = init_device_mesh("cpu", (size,))
        self.client = client
        self.exchanges = 0
        plain = distributed.all_gather

        def counted(*arguments: Any, **options: Any) -> Any:
            self.exchanges += 1
            return plain(*arguments, **options)

        distributed.all_gather = counted

    def stepped(
        self,
        plan: Any,
        arrays: dict[str, NDArray[Any]],
        make: type[Any],
        **options: Any,
    ) -> tuple[str, int]:
        """The digest of parameters after a step, and the exchanges that it took."""
        from regularization_client.torch import ProximalStep
        from torch.distributed.tensor import DTensor, Shard, distribute_tensor

        model = self.torch.nn.ParameterDict()
        for name, array in arrays.items():
            tensor = self.torch.from_numpy(array.copy())
            if options.get("share") != "split" and tensor.dim():
                tensor = distribute_tensor(tensor, self.mesh, [Shard(0)])
            model[name] = self.torch.nn.Parameter(tensor)
        optimizer = make(model.parameters(), lr=STEP_SIZE)
        ProximalStep(self.client, model, optimizer, plan, **options)
        if options.get("metric") == "adam":
            for parameter in model.parameters():
                parameter.grad = parameter.detach() * 0.25
        self.exchanges = 0
        optimizer.step()
        exchanges = self.exchanges
        wholes = [each.full_tensor() if isinstance(each, DTensor) else each for each in model.parameters()]
        return digest(*(each.detach().numpy() for each in wholes)), exchanges

    def models(self) -> Iterator[tuple[str, Any, dict[str, NDArray[Any]], dict[str, Any]]]:
        """Several parameters together, uneven and empty ones among them."""
        random = np.random.default_rng(7)
        shapes = {"a": (7, 3), "b": (1, 5), "c": (10,), "d": (0, 4), "e": (), "f": (9, 9)}
        arrays = {name: random.standard_normal(shape) for name, shape in shapes.items()}
        names = {name: message for name, message, _ in rows()}
        first = {name.partition(":")[0]: message for name, message in reversed(names.items())}
        mixed = {"a": first["l1_norm"], "b": first["l2_norm"], "c": None, "f": first["nuclear_norm"]}
        yield "mixed", mixed | {"d": first["l1_norm"], "e": first["l1_norm"]}, arrays, {}
        sharded = {name: array for name, array in arrays.items() if array.shape}
        yield "joint", {"[abf]": Joint(TopK(fraction=0.3)), "*": None}, sharded, {}
        yield (
            "adam",
            {"a": first["l1_norm"], "*": None},
            {"a": arrays["a"], "f": arrays["f"]},
            {"metric": "adam"},
        )

    def failed(self, share: str) -> str:
        """The error of a step over parameters of which the last rank has a NaN."""
        arrays = {"a": np.ones((4, 2)), "b": np.ones((4, 4))}
        arrays["a"][-1, -1] = np.nan
        plan = {"a": L1Norm(strength=1.0), "b": NuclearNorm(strength=1.0)}
        return self.refused(plan, arrays, share=share)

    def refused(self, plan: Any, arrays: dict[str, NDArray[Any]], **options: Any) -> str:
        """The kind of error of a step."""
        try:
            self.stepped(plan, arrays, self.torch.optim.SGD, **options)
        except RegularizationError as error:
            return type(error).__name__
        return "none"

    def refused_shards(self) -> str:
        """The error of a step over columns."""
        from regularization_client.torch import ProximalStep
        from torch.distributed.tensor import Shard, distribute_tensor

        nn = self.torch.nn
        model = nn.ParameterDict(
            {"w": nn.Parameter(distribute_tensor(self.torch.ones(4, 4), self.mesh, [Shard(1)]))}
        )
        optimizer = self.torch.optim.SGD(model.parameters(), lr=1.0)
        ProximalStep(self.client, model, optimizer, L1Norm(strength=1.0))
        try:
            optimizer.step()
        except RegularizationError as error:
            return str(error)
        return "none"

    def exchanged(self) -> list[int]:
        """How long what was gathered of each rank is, if it is what was given."""
        from regularization_client.torch._group import Group

        group = Group()
        given = [bytes([rank]) * (rank * 70_000) for rank in range(group.size)]
        assert group.gather(given[group.rank]) == given
        return [len(each) for each in given]

    @property
    def shards_train(self) -> bool:
        """Whether FSDP2 trains on processors: before PyTorch 2.9 it adds gradients there, or fails."""
        return tuple(map(int, self.torch.__version__.split(".")[:2])) >= (2, 9)

    def trained(self, how: str) -> str:
        """The digest of a model after some steps of training, of all ranks on the same data.

        Args:
            how: "alone", or as trainers divide a model: "fully_shard", "ddp"; "split" shares the step out.
        """
        from regularization_client.torch import ProximalStep
        from torch.distributed.fsdp import fully_shard

        nn = self.torch.nn
        self.torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))
        images = self.torch.randn(5, 6)
        if how == "fully_shard":
            fully_shard(model, mesh=self.mesh)
        forward = nn.parallel.DistributedDataParallel(model) if how in ("ddp", "split") else model
        optimizer = self.torch.optim.Adam(forward.parameters(), lr=0.1)
        rules = {"*.weight": GroupLasso(strength=0.4, groups=Groups(axis=0)), "*": None}
        share: Any = "split" if how == "split" else "whole"
        ProximalStep(self.client, forward, optimizer, rules, share=share)
        for _ in range(3):
            optimizer.zero_grad()
            forward(images).square().sum().backward()
            optimizer.step()
        wholes = [getattr(each, "full_tensor", lambda each=each: each)() for each in model.parameters()]
        return digest(*(each.detach().numpy() for each in wholes))


def main(rank: int, size: int, folder: Path, target: str) -> None:
    """Be a rank, and write what came out."""
    with Client(target) as client:
        here = Rank(rank, size, str(folder / f"store-{size}"), client)
        sgd, adam = here.torch.optim.SGD, here.torch.optim.Adam
        found: dict[str, dict[str, Any]] = {}
        for share in ("whole", "split"):
            found[share] = {
                name: here.stepped(message, {"w": values}, sgd, share=share)
                for name, message, values in rows()
            }
            for name, plan, arrays, options in here.models():
                make = adam if options else sgd
                found[share][name] = here.stepped(plan, arrays, make, share=share, **options)
        ways = ["alone", "ddp", "split"]
        if here.shards_train:
            ways.append("fully_shard")
        # The mean of two equal gradients is exact, that of four may not be.
        found["trained"] = {how: here.trained(how) for how in ways} if size <= 2 else {}
        found["refused"] = {
            "whole": here.failed("whole"),
            "split": here.failed("split"),
            "columns": here.refused_shards(),
            "held": here.refused("policy", {"w": np.ones((4, 2))}),
            "exchanged": here.exchanged(),
        }
        (folder / f"found-{size}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
