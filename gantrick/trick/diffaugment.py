from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gantrick import parallel
from gantrick.stages import Component
from gantrick.types import Fraction, Paper


class Diffaugment(Component):
    """x ← T(x) for everything that D sees, in both turns, T drawn for each sample anew and differentiable in x.

    `policy` says which, in this order; x is (B, C, H, W) in [-1, 1], u are even draws, one each for a sample.

    color        x + u, u in [−½, ½]; then m + u (x − m), u in [0, 2], m the mean over channels of each pixel; then
                 m + u (x − m), u in [½, 1½], m the mean over all of the image
    translation  moved by whole pixels, up to `translation` of each side either way; what comes in is 0
    cutout       a rectangle of `cutout` of each side is 0, its middle anywhere in the image, its rest cut off

    Source: Zhao et al., arXiv 2006.10738, and its official code; translation and cutout alone are its policy for
    CIFAR-10.
    """

    paper = Paper(
        "zhao2020differentiable",
        "Differentiable Augmentation for Data-Efficient GAN Training",
        "Zhao, Shengyu and Liu, Zhijian and Lin, Ji and Zhu, Jun-Yan and Han, Song",
        2020,
        "2006.10738",
        "Advances in Neural Information Processing Systems",
    )
    needs = frozenset({"images"})
    neutral = {"policy": []}

    def __init__(
        self,
        policy: tuple[Literal["color", "translation", "cutout"], ...] = ("color", "translation", "cutout"),
        translation: Fraction = 0.125,
        cutout: Fraction = 0.5,
    ):
        super().__init__()
        self.policy, self.translation, self.cutout = policy, translation, cutout

    def augment(self, images: Tensor) -> Tensor:
        for name in self.policy:
            images = {"color": _color, "translation": self._moved, "cutout": self._cut}[name](images)
        return images

    def _moved(self, x: Tensor) -> Tensor:
        rows, cols = (_moves(x, dim, int(x.shape[dim] * self.translation + 0.5)) for dim in (2, 3))
        sample = torch.arange(len(x), device=x.device)[:, None, None]
        (i, row_in), (j, col_in) = rows, cols
        taken = x.permute(0, 2, 3, 1)[sample, i[:, :, None], j[:, None, :]].permute(0, 3, 1, 2)
        return taken * (row_in[:, None, :, None] & col_in[:, None, None, :])

    def _cut(self, x: Tensor) -> Tensor:
        row, col = (_within(x, dim, int(x.shape[dim] * self.cutout + 0.5)) for dim in (2, 3))
        return x * ~(row[:, None, :, None] & col[:, None, None, :])


def _color(x: Tensor) -> Tensor:
    x = x + (_even(x) - 0.5)
    mean = x.mean(1, keepdim=True)
    x = mean + 2 * _even(x) * (x - mean)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (_even(x) + 0.5) * (x - mean)


def _even(x: Tensor) -> Tensor:
    """U(0, 1), one for each sample: (B, 1, 1, 1)."""
    return parallel.rand(len(x), 1, 1, 1, device=x.device)


def _one_of(x: Tensor, kinds: int) -> Tensor:
    """A whole number from 0 to kinds − 1, evenly, one for each sample: (B, 1)."""
    return (parallel.rand(len(x), 1, device=x.device) * kinds).long().clamp(max=kinds - 1)


def _moves(x: Tensor, dim: int, most: int) -> tuple[Tensor, Tensor]:
    """Along a side: which place of x each place shows (B, side), and whether there is such a place."""
    side = x.shape[dim]
    place = torch.arange(side, device=x.device) + _one_of(x, 2 * most + 1) - most
    return place.clamp(0, side - 1), (place >= 0) & (place < side)


def _within(x: Tensor, dim: int, size: int) -> Tensor:
    """Along a side: the places (B, side) within `size` of a middle that is drawn from all there are."""
    side = x.shape[dim]
    first = _one_of(x, side + 1 - size % 2) - size // 2
    place = torch.arange(side, device=x.device)
    return (place >= first) & (place < first + size)
