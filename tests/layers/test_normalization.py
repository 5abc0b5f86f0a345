"""Against torch's own layers; statistics move only when they are committed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gantrick.layers.normalization import BatchNorm, commit, needs_bias, norm, take, unrecorded

SHAPES = {"points": (6, 5), "images": (6, 5, 3, 4)}


def torch_twin(shape: tuple[int, ...]) -> nn.Module:
    return nn.BatchNorm1d(5) if len(shape) == 2 else nn.BatchNorm2d(5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_batch_norm_committed_after_each_forward_is_torchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm(5), torch_twin(shape)
    for layer in (ours, theirs):
        nn.init.constant_(layer.weight, 1.7)
        nn.init.constant_(layer.bias, -0.3)
    for _ in range(4):
        h = torch.randn(shape) * 3 + 2
        assert torch.equal(ours(h, None), theirs(h))
        commit(take(ours))
        torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-6, atol=1e-7)
    ours.eval()
    theirs.eval()
    h = torch.randn(shape)
    torch.testing.assert_close(ours(h), theirs(h), rtol=1e-6, atol=1e-6)


def test_a_forward_writes_no_statistics() -> None:
    torch.manual_seed(0)
    layer = BatchNorm(3)
    before = copy.deepcopy(layer.state_dict())
    layer(torch.randn(4, 3, 2, 2) + 5)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    commit(take(layer))
    assert not torch.equal(layer.running_mean, before["running_mean"])
    after = layer.running_mean.clone()
    commit(take(layer))  # nothing waits any more
    assert torch.equal(layer.running_mean, after)


def test_commit_moves_only_layers_that_saw_a_batch() -> None:
    network = nn.ModuleList([BatchNorm(2), BatchNorm(2)])
    h = torch.tensor([[1.0, 4.0], [3.0, 8.0]])
    network[0](h)
    commit(take(network), momentum=0.5)
    assert network[0].running_mean.tolist() == [1.0, 3.0]  # half way from 0 to (2, 6)
    assert network[0].running_var.tolist() == [1.5, 4.5]  # half way from 1 to the unbiased (2, 8)
    assert network[1].running_mean.tolist() == [0.0, 0.0]


def test_unrecorded_forwards_leave_what_waited_before() -> None:
    torch.manual_seed(0)
    layer = BatchNorm(2)
    h = torch.tensor([[1.0, 4.0], [3.0, 8.0]])
    layer(h)
    with unrecorded(layer):
        out = layer(h + 50)
        with unrecorded(layer):
            layer(h - 50)
        layer(h - 9)
    torch.testing.assert_close(out, nn.BatchNorm1d(2)(h + 50))
    commit(take(layer), momentum=1.0)
    assert layer.running_mean.tolist() == [2.0, 6.0]
    layer(h + 1)
    commit(take(layer), momentum=1.0)
    assert layer.running_mean.tolist() == [3.0, 7.0]


@pytest.mark.parametrize("forwards", [2, 3])
def test_every_forward_counts_as_torchs_does(forwards: int) -> None:
    torch.manual_seed(0)
    ours, theirs = nn.ModuleList([BatchNorm(2), BatchNorm(2)]), nn.ModuleList([nn.BatchNorm1d(2), nn.BatchNorm1d(2)])
    for i in range(forwards):
        h = torch.randn(5, 2) * (i + 1) + i
        for pair in (ours, theirs):
            pair[0](h)
            if i:
                pair[1](h - 1)
    commit(take(ours))
    for mine, torchs in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.running_mean, torchs.running_mean)
        torch.testing.assert_close(mine.running_var, torchs.running_var)


def test_a_batch_of_nan_does_not_outlive_its_forward() -> None:
    layer = BatchNorm(2)
    layer(torch.full((4, 2), float("nan")))
    take(layer)  # and thrown away: the evaluation was not accepted
    layer(torch.tensor([[1.0, 4.0], [3.0, 8.0]]))
    commit(take(layer))
    assert torch.isfinite(layer.running_mean).all()
    assert torch.isfinite(layer.running_var).all()


def test_two_forwards_before_one_backward() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 2), torch.randn(4, 2)
    ours, theirs = BatchNorm(2), nn.BatchNorm1d(2)
    for layer in (ours, theirs):
        (layer(a).square().sum() + layer(b).pow(3).sum()).backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_layer_norm_is_over_all_of_a_sample() -> None:
    torch.manual_seed(0)
    h = torch.randn(4, 3, 5, 2) * 2 + 1
    layer = norm("layer")(3)
    gain, shift = torch.tensor([1.0, 2.0, -1.0]), torch.tensor([0.5, 0.0, 3.0])
    layer.load_state_dict({"weight": gain, "bias": shift})
    expected = nn.functional.layer_norm(h, (3, 5, 2)) * gain.view(3, 1, 1) + shift.view(3, 1, 1)
    torch.testing.assert_close(layer(h, None), expected)
    torch.testing.assert_close(layer(h[:, :, 0, 0]), nn.functional.layer_norm(h[:, :, 0, 0], (3,), gain, shift))


def test_instance_norm_is_torchs() -> None:
    torch.manual_seed(0)
    h = torch.randn(4, 3, 5, 2) * 2 + 1
    torch.testing.assert_close(norm("instance")(3)(h, None), nn.InstanceNorm2d(3)(h))


def test_no_norm_is_the_identity() -> None:
    h = torch.randn(2, 3)
    assert norm("none")(3)(h, None) is h


def test_only_batch_norm_makes_a_bias_useless() -> None:
    assert [needs_bias(norm(kind)(4)) for kind in ("batch", "layer", "instance", "none")] == [False, True, True, True]
    h = torch.randn(4, 3, 5, 2)
    shift = torch.tensor([10.0, -3.0, 1.0]).view(3, 1, 1)
    torch.testing.assert_close(BatchNorm(3)(h), BatchNorm(3)(h + shift), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["batch", "layer", "instance", "none"])
def test_second_derivatives_and_copies(kind: str) -> None:
    torch.manual_seed(0)
    layer = norm(kind)(2).double()
    h = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x, None).pow(3), h)
    copied = copy.deepcopy(layer)
    assert torch.equal(copied.eval()(h), layer.eval()(h))
