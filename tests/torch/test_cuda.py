"""Models on a GPU: the steps that the same parameters take on the host, in the order of the GPU's work."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import regularization_client
from regularization_client import Client, GroupLasso, Groups, L1Norm, L2Norm, TopK

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from regularization_client.torch import (  # noqa: E402 - it needs PyTorch
    DropConnect,
    Dropout,
    ProximalStep,
    dropout_mask,
    share_parameters,
)
from torch import nn  # noqa: E402 - likewise

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

KINDS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
RULES = {
    "first": GroupLasso(strength=2.0, groups=Groups(axis=0)),
    "second": TopK(count=100),
    "third": L1Norm(strength=0.4),
    "fourth": L1Norm(strength=0.4),
    "fifth": L2Norm(strength=1.0),
    "*": None,
}


class Only(nn.Module):
    """Parameters of every data type, one that lies by columns, one without elements and one exempt."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name, kind in zip(("first", "second", "third", "fourth"), KINDS, strict=True):
            setattr(self, name, nn.Parameter(torch.randn(40, 30).to(kind)))
        self.fifth = nn.Parameter(torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last))
        self.empty = nn.Parameter(torch.empty(0))
        self.bias = nn.Parameter(torch.randn(7))


def bits(model: nn.Module) -> dict[str, bytes]:
    """The parameters' bits, by name."""
    return {
        name: each.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        for name, each in model.named_parameters()
    }


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """Which moves nothing where there is no gradient."""
    return torch.optim.SGD(model.parameters(), lr=0.5)


def test_the_step_has_the_bits_of_one_on_the_host(client: Client) -> None:
    """Of every data type and layout; what is on the GPU stays there, and lies as it lay."""
    here, there = Only(), Only().cuda()
    strides = {name: each.stride() for name, each in there.named_parameters()}
    places = {name: each.data_ptr() for name, each in there.named_parameters()}
    last = []
    for model in (here, there):
        optimizer = sgd(model)
        prox = ProximalStep(client, model, optimizer, RULES)
        for _ in range(3):
            optimizer.step()
        last.append(prox.last)
    assert bits(here) == bits(there)
    assert bits(here) != bits(Only())
    assert all(each.is_cuda for each in there.parameters())
    assert {name: each.stride() for name, each in there.named_parameters()} == strides
    assert {name: each.data_ptr() for name, each in there.named_parameters()} == places
    assert last[0].segments == last[1].segments


def test_parameters_may_lie_on_the_host_and_on_a_gpu(client: Client) -> None:
    """As where a model is larger than the GPU."""
    here, mixed = Only(), Only()
    mixed.first.data = mixed.first.data.cuda()
    mixed.third.data = mixed.third.data.cuda()
    for model in (here, mixed):
        optimizer = sgd(model)
        ProximalStep(client, model, optimizer, RULES)
        optimizer.step()
    assert bits(here) == bits(mixed)


@pytest.mark.parametrize("device", ["cuda", "both"])
def test_parameters_on_a_gpu_land_in_shared_memory(client: Client, device: str) -> None:
    """No step sends them, and their bits are the same, also where others lie on the host."""
    here, there = Only(), Only()
    for each in there.parameters():
        if device == "cuda" or each.dim() == 4:
            each.data = each.data.cuda()
    places = {
        name: (each.data_ptr(), each.stride()) for name, each in there.named_parameters() if each.is_cuda
    }
    with share_parameters(there, client):
        for model in (here, there):
            optimizer = sgd(model)
            prox = ProximalStep(client, model, optimizer, RULES)
            for _ in range(3):
                optimizer.step()
        assert all(each.shared for each in prox._results)
    assert bits(here) == bits(there)
    assert places == {
        name: (each.data_ptr(), each.stride()) for name, each in there.named_parameters() if each.is_cuda
    }


def test_memory_is_not_given_back_while_the_gpu_reads_it(client: Client) -> None:
    """Model, optimizer and memory end right after a step; the parameter has the step's result."""
    for _ in range(5):
        model = nn.Linear(4096, 2048, bias=False, device="cuda")
        weight, start = model.weight.data, model.weight.detach().clone()
        shared = share_parameters(model, client)
        optimizer = sgd(model)
        ProximalStep(client, model, optimizer, L1Norm(strength=0.01))
        optimizer.step()
        shared.release()
        del model, optimizer, shared
        gc.collect()
        expected = start.sign() * (start.abs() - 0.005).clamp_(min=0)
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-8)


@pytest.fixture
def trained() -> tuple[nn.Module, Any, Any]:
    """A classifier on the GPU, with what it learns from."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10)).cuda()
    images = torch.randn(2048, 64, device="cuda")
    return model, images, (images[:, :10]).argmax(1)


PLAN = {"*.weight": GroupLasso(strength=8.0, groups=Groups(axis=0)), "*": None}


def test_training_has_the_steps_of_a_loop_by_hand(client: Client, trained: Any) -> None:
    """Which waits for everything, and copies through arrays of its own."""
    model, images, labels = trained
    by_hand = copy.deepcopy(model)
    optimizers = [torch.optim.AdamW(each.parameters(), lr=0.01) for each in (model, by_hand)]
    ProximalStep(client, model, optimizers[0], PLAN)
    for _ in range(20):
        for each, optimizer in zip((model, by_hand), optimizers, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(each(images), labels).backward()
            optimizer.step()
            if each is by_hand:
                torch.cuda.synchronize()
                arrays = {name: tensor.detach().cpu().numpy() for name, tensor in each.named_parameters()}
                result = client.proximal_step(arrays, PLAN, step_size=0.01)
                with torch.no_grad():
                    for name, tensor in each.named_parameters():
                        tensor.copy_(torch.from_numpy(np.array(result.parameters[name])))
        assert bits(model) == bits(by_hand)
    assert (model[0].weight == 0).all(1).any()


def test_the_step_keeps_its_place_in_another_stream(client: Client) -> None:
    """Parameters are read after what was asked before, and what is asked after reads the new ones."""
    model = nn.Linear(4096, 2048, bias=False, device="cuda")
    start = model.weight.detach().clone()
    optimizer = sgd(model)
    ProximalStep(client, model, optimizer, L1Norm(strength=2.0))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(10):
            model.weight.data.copy_(start)
            # Work that holds the stream up.
            torch.cuda._sleep(20_000_000)
            model.weight.data.add_(3.0)
            optimizer.step()
            after = model.weight.detach().clone()
            stream.synchronize()
            expected = start.add(3.0).sub(1.0)
            torch.testing.assert_close(after, expected, rtol=1e-6, atol=0)


def test_a_step_that_the_gpu_skips_changes_nothing(client: Client) -> None:
    """A fused optimizer finds an overflow by itself, on the GPU."""
    model = nn.Linear(8, 8, bias=False, device="cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    prox = ProximalStep(client, model, optimizer, L1Norm(strength=0.5))
    scaler = torch.amp.GradScaler("cuda", init_scale=4.0)
    for factor, steps in ((1.0, 1), (float("inf"), 1), (1.0, 2)):
        before = bits(model)
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(2, 8, device="cuda")).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        assert prox.steps == steps
        assert (bits(model) == before) is (factor != 1.0)


@pytest.mark.parametrize("options", [{}, {"fused": True}, {"capturable": True}], ids=str)
def test_adam_s_metric_is_that_of_the_host(client: Client, options: dict[str, bool]) -> None:
    """Whose moments lie on the GPU, the number of the step too."""
    models = [nn.Linear(50, 40, bias=False, dtype=torch.float64) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    models[1].cuda()
    for model, own in zip(models, ({}, options), strict=True):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, **own)
        ProximalStep(client, model, optimizer, L1Norm(strength=0.3), metric="adam")
        for step in range(3):
            gradient = torch.linspace(-1, 1 + step, 2000, dtype=torch.float64).view(40, 50)
            model.weight.grad = gradient.to(model.weight.device)
            optimizer.step()
    # PyTorch itself corrects a capturable step's bias in float32.
    torch.testing.assert_close(models[1].weight.cpu(), models[0].weight, rtol=0, atol=1e-6)
    assert (models[1].weight == 0).any()


def test_adam_s_metric_lands_in_shared_memory(client: Client) -> None:
    """Parameters and scales, which come from the GPU beside each other."""
    models = [nn.Linear(500, 400, device="cuda") for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    with share_parameters(models[1], client):
        for model in models:
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            prox = ProximalStep(client, model, optimizer, L1Norm(strength=0.3), metric="adam")
            for step in range(3):
                for each in model.parameters():
                    each.grad = torch.linspace(-1, 1 + step, each.numel(), device="cuda").view(each.shape)
                optimizer.step()
        assert all(each.shared for each in prox._results)
    assert bits(models[0]) == bits(models[1])


@pytest.mark.parametrize("offset", [0, 65_530, (1 << 40) + 3, (1 << 63) - 200_000])
def test_masks_have_the_bits_of_numpy_s(offset: int) -> None:
    """In words of 64 bits, whatever the GPU makes of shifts and signs."""
    mask = dropout_mask(200_000, 0.3, seed=(1 << 64) - 1, step=12, offset=offset, device="cuda")
    assert mask.is_cuda
    expected = regularization_client.dropout_mask(200_000, 0.3, (1 << 64) - 1, 12, offset)
    assert np.array_equal(mask.cpu().numpy(), expected)


def test_dropout_layers_are_those_of_the_host() -> None:
    """Of activations and of weights, with their gradients."""
    torch.manual_seed(0)
    layers = [nn.Sequential(DropConnect(nn.Linear(30, 20), 0.4, seed=3), Dropout(0.5, seed=4)).double()]
    layers.append(copy.deepcopy(layers[0]).cuda())
    x = torch.randn(16, 30, dtype=torch.float64)
    for _ in range(2):
        outputs = [layer(x.to(device)) for layer, device in zip(layers, ("cpu", "cuda"), strict=True)]
        assert torch.equal(outputs[0] == 0, outputs[1].cpu() == 0)
        torch.testing.assert_close(outputs[1].cpu(), outputs[0])
    for output in outputs:
        output.sum().backward()
    torch.testing.assert_close(layers[1][0].layer.weight.grad.cpu(), layers[0][0].layer.weight.grad)


@pytest.fixture
def ranks(tmp_path: Any) -> Iterator[Any]:
    """A group of this process alone, which exchanges over NCCL."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_nccl_available()):
        pytest.skip("PyTorch has no NCCL")
    distributed.init_process_group("nccl", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield distributed
    distributed.destroy_process_group()


def test_ranks_exchange_on_the_gpu(client: Client, ranks: Any) -> None:
    """Shares of a step, and rows of FSDP2's with figures of the whole."""
    from torch.distributed.fsdp import fully_shard

    here, there = Only(), Only().cuda()
    for model, share in ((here, "whole"), (there, "split")):
        optimizer = sgd(model)
        ProximalStep(client, model, optimizer, RULES, share=share)
        optimizer.step()
    assert bits(here) == bits(there)
    plain, sharded = (nn.Linear(30, 40) for _ in range(2))
    sharded.load_state_dict(plain.state_dict())
    fully_shard(sharded.cuda())
    for model in (plain, sharded):
        optimizer = sgd(model)
        ProximalStep(client, model, optimizer, {"weight": TopK(count=50), "bias": L2Norm(strength=0.5)})
        optimizer.step()
    assert torch.equal(sharded.weight.full_tensor().cpu(), plain.weight)
    assert torch.equal(sharded.bias.full_tensor().cpu(), plain.bias)
