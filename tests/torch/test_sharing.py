"""Parameters in shared memory: steps send no elements, and have the same bits."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from regularization_client import ArgumentError, Client, GroupLasso, Groups, L1Norm, SharedMemoryError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from regularization_client.torch import ProximalStep, share_parameters  # noqa: E402 - it needs PyTorch
from torch import nn  # noqa: E402 - likewise

RULES = {"*.weight": GroupLasso(strength=3.0, groups=Groups(axis=0)), "*": None}


class Watched:
    """A client whose results are looked at."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.shared: list[bool] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def proximal_step(self, *arguments: Any, **options: Any) -> Any:
        """The step, of which it is remembered whether elements were sent."""
        result = self._client.proximal_step(*arguments, **options)
        self.shared.append(result.shared)
        return result


@contextmanager
def watched(target: str) -> Iterator[Watched]:
    """A client of the server."""
    with Client(target) as client:
        yield Watched(client)


def model() -> nn.Module:
    """Of two data types, with exempt parameters between the others, and one that is tied."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 6).to(torch.bfloat16))
    made[1].weight.requires_grad_(False)
    made.append(nn.Linear(8, 6))
    made[3].weight = made[0].weight
    return made


def stepped(made: nn.Module, client: Any) -> dict[str, torch.Tensor]:
    """The parameters after some steps of descent without a loss."""
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    ProximalStep(client, made, optimizer, RULES)
    for _ in range(3):
        optimizer.step()
    return {name: each.detach().clone() for name, each in made.named_parameters()}


def test_steps_are_taken_where_the_parameters_are(target: str) -> None:
    """With the bits of steps over the wire, exempt parameters among the others."""
    with watched(target) as client, share_parameters(shared := model(), client):
        ours = stepped(shared, client)
        assert client.shared == [True] * 6
        theirs = stepped(model(), client)
        assert client.shared == [True] * 6 + [False] * 6
    assert {name: each.dtype for name, each in ours.items()} == {n: e.dtype for n, e in theirs.items()}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert shared[3].weight is shared[0].weight
    assert (ours["0.weight"] == 0).any()


def test_released_parameters_are_ordinary_memory(target: str) -> None:
    """Which goes on to be stepped, over the wire."""
    with watched(target) as client:
        shared, made = None, model()
        shared = share_parameters(made, client)
        shared.release()
        shared.release()
        stepped(made, client)
        assert client.shared == [False] * 6
    assert all(each.isfinite().all() for each in made.parameters())


def test_moments_and_gradients_of_before_go_on(target: str) -> None:
    """An optimizer made before keeps the parameters, for they are the same objects."""
    with watched(target) as client:
        made = nn.Linear(4, 1, bias=False)
        optimizer = torch.optim.Adam(made.parameters(), lr=0.1)
        made(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        weight, before = made.weight, made.weight.detach().clone()
        share_parameters(made, client)
        assert made.weight is weight
        assert torch.equal(made.weight, before)
        ProximalStep(client, made, optimizer, L1Norm(strength=1e-3))
        optimizer.step()
        assert client.shared == [True]
        assert optimizer.state[weight]["step"] == 2


def test_what_cannot_be_shared_is_refused_by_name(client: Client) -> None:
    """Types that the service does not know, other devices, and models with nothing to train."""
    with pytest.raises(TypeError, match="'weight'"):
        share_parameters(nn.Linear(2, 1, bias=False, dtype=torch.complex64), client)
    with pytest.raises(ArgumentError, match=r"'weight' must be a dense tensor.*on meta"):
        share_parameters(nn.Linear(2, 1, device="meta"), client)
    with pytest.raises(ArgumentError, match="require a gradient"):
        share_parameters(nn.ReLU(), client)
    with Client("localhost:1") as far, pytest.raises(SharedMemoryError, match="unix"):
        share_parameters(nn.Linear(2, 1), far)


def test_parameters_elsewhere_land_in_shared_memory(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And go back, with the same bits; those on the host lie there anyway."""
    monkeypatch.setattr(
        "regularization_client.torch._sharing._is_elsewhere", lambda parameter: parameter.dim() == 2
    )
    with watched(target) as client:
        away = model()
        places = {name: each.data_ptr() for name, each in away.named_parameters()}
        with share_parameters(away, client):
            ours = stepped(away, client)
            assert client.shared == [True] * 6
            moved = {name for name, each in away.named_parameters() if each.data_ptr() != places[name]}
            assert moved == {"0.bias", "1.bias", "2.bias", "3.bias"}
        theirs = stepped(model(), client)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        stepped(away, client)
        assert client.shared == [True] * 6 + [False] * 12


def test_a_parameter_that_changed_its_type_has_no_place_to_land(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps go over the wire."""
    monkeypatch.setattr("regularization_client.torch._sharing._is_elsewhere", lambda parameter: True)
    with watched(target) as client, share_parameters(made := model(), client):
        made.to(torch.float64)
        stepped(made, client)
        assert client.shared == [False] * 3


def test_a_transposed_parameter_keeps_its_numbers(target: str) -> None:
    """In shared memory it lies row by row."""
    with watched(target) as client:
        made = nn.Linear(3, 2, bias=False)
        made.weight.data = torch.arange(6.0).reshape(3, 2).T
        with share_parameters(made, client):
            assert np.array_equal(made.weight.detach().numpy(), np.arange(6.0).reshape(3, 2).T)
            assert made.weight.is_contiguous()


def stepped_by_adam(made: nn.Module, client: Any) -> dict[str, torch.Tensor]:
    """The parameters after some steps in Adam's metric."""
    optimizer = torch.optim.Adam(made.parameters(), lr=0.1)
    rules = {"*.weight": L1Norm(strength=0.05), "*": None}
    ProximalStep(client, made, optimizer, rules, metric="adam")
    for step in range(3):
        for each in made.parameters():
            each.grad = torch.linspace(-1, 1 + step, each.numel()).view(each.shape).to(each.dtype)
        optimizer.step()
    return {name: each.detach().clone() for name, each in made.named_parameters()}


def test_the_scales_of_adam_s_metric_are_shared_too(target: str) -> None:
    """In memory that a training keeps, and gives back in the end."""
    with watched(target) as client, share_parameters(shared := model(), client):
        regions = len(client._memory._regions)
        ours = stepped_by_adam(shared, client)
        assert client.shared == [True] * 6
        gc.collect()
        assert len(client._memory._regions) == regions
        theirs = stepped_by_adam(model(), client)
        assert client.shared == [True] * 6 + [False] * 6
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (ours["0.weight"] == 0).any()


def test_scales_that_the_server_has_no_room_for_are_sent(
    target: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all elements, which is said once."""

    def refused(*_: Any) -> None:
        raise SharedMemoryError("the server has no room")

    with watched(target) as client, share_parameters(shared := model(), client):
        monkeypatch.setattr(client, "shared_arrays", refused, raising=False)
        ours = stepped_by_adam(shared, client)
        theirs = stepped_by_adam(model(), client)
        assert client.shared == [False] * 12
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert caplog.text.count("the server has no room") == 1


class Runtime:
    """What of CUDA's runtime is asked, in the place of one."""

    def __init__(self, result: int) -> None:
        self.result = result
        self.locked: dict[int, int] = {}

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802 - CUDA's name
        """Lock memory, unless there is an error."""
        assert flags == 0
        if not self.result:
            self.locked[address] = size
        return self.result

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802 - CUDA's name
        """Lock it no longer."""
        del self.locked[address]
        return 0


@pytest.mark.parametrize("result", [0, 1])
def test_memory_is_page_locked_as_long_as_parameters_lie_in_it(
    target: str, result: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there is a GPU; where it cannot be, one is told, and steps work as ever."""
    runtime = Runtime(result)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    made = nn.Sequential(nn.Linear(8, 6))
    with watched(target) as client, share_parameters(made, client):
        assert runtime.locked == ({} if result else {made[0].weight.data_ptr(): (8 * 6 + 6) * 4})
        stepped(made, client)
        assert client.shared == [True] * 3
    # Released parameters lie where they lay.
    assert len(runtime.locked) == 1 - result
    del made
    gc.collect()
    assert not runtime.locked
    assert ("not page-locked: CUDA error 1" in caplog.text) is bool(result)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_shared_parameters_are_pinned(target: str) -> None:
    """To PyTorch, so that it copies them to a GPU beside other work; and a model on it has the same step."""
    with watched(target) as client, share_parameters(made := model(), client):
        assert all(each.is_pinned() for each in made.parameters() if each.requires_grad)
        ours = stepped(made, client)
        theirs = stepped(model().cuda(), client)
    assert all(torch.equal(ours[name], theirs[name].cpu()) for name in ours)
