"""Residual blocks of SNGAN, WGAN-GP and BigGAN (arXiv 1802.05957, appendix B; 1704.00028, C; 1809.11096, B).

Resampling commutes with the shortcut's 1x1 convolution, which is therefore done on the smaller side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.initialisation import residual
from gantrick.layers.normalization import NoNorm
from gantrick.layers.resampling import Down, Up, down_conv, up_conv, upsample
from gantrick.types import ModuleFactory


class GeneratorBlock(nn.Module):
    """h ↦ conv(relu(norm(conv(up(relu(norm(h))))))) + up(conv1x1(h)): `(B, C, H, W)` -> `(B, C', 2H, 2W)`."""

    def __init__(self, channels: int, out: int, norm: ModuleFactory, up: Up):
        super().__init__()
        self.up = up
        self.norm1 = norm(channels)
        self.conv1 = residual(up_conv(up, channels, out))
        self.norm2 = norm(out)
        self.conv2 = residual(nn.Conv2d(out, out, 3, padding=1))
        self.shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        r: Tensor = self.conv1(F.relu(self.norm1(h, condition)))
        r = self.conv2(F.relu(self.norm2(r, condition)))
        return r + upsample(self.shortcut(h), self.up)


class DiscriminatorBlock(nn.Module):
    """h ↦ down(conv(relu(norm(conv(relu(norm(h))))))) + down(conv1x1(h)): `(B, C, H, W)` -> `(B, C', H/2, W/2)`.

    Without `down` the size stays; the shortcut is the identity where the shape stays. The `first` block sees images:
    it begins with the convolution, and has no norm. Between the convolutions there are C channels, in a `wide` block C'
    (SAGAN and BigGAN).
    """

    def __init__(
        self,
        channels: int,
        out: int,
        norm: ModuleFactory,
        down: Down | None = None,
        first: bool = False,
        wide: bool = False,
    ):
        super().__init__()
        hidden = out if first or wide else channels
        norm = NoNorm if first else norm
        self.halves, self.first = down is not None, first
        self.norm1 = norm(channels)
        self.conv1 = residual(nn.Conv2d(channels, hidden, 3, padding=1))
        self.norm2 = norm(hidden)
        self.conv2 = residual(down_conv(down, hidden, out) if down else nn.Conv2d(hidden, out, 3, padding=1))
        self.shortcut = nn.Conv2d(channels, out, 1) if down or channels != out else nn.Identity()

    def branch(self, h: Tensor) -> Tensor:
        if not self.first:
            h = F.relu(self.norm1(h))
        r: Tensor = self.conv2(F.relu(self.norm2(self.conv1(h))))
        return r

    def skip(self, h: Tensor) -> Tensor:
        s: Tensor = self.shortcut(F.avg_pool2d(h, 2) if self.halves else h)
        return s

    def forward(self, h: Tensor) -> Tensor:
        return self.branch(h) + self.skip(h)


class GeneratorBottleneck(nn.Module):
    """h ↦ conv1x1(a(conv3x3(a(conv3x3(up(a(conv1x1(a(h))))))))) + up(h's first C' channels), a = relu ∘ norm.

    BigGAN-deep's block, with C/4 channels inside (arXiv 1809.11096, appendix B): `(B, C, H, W)` -> `(B, C', 2H, 2W)`,
    C' ≤ C; without `up` the size stays.
    """

    def __init__(self, channels: int, out: int, norm: ModuleFactory, up: Up | None = None):
        super().__init__()
        hidden = max(1, channels // 4)
        self.up, self.out = up, out
        self.norms = nn.ModuleList(norm(c) for c in (channels, hidden, hidden, hidden))
        self.convs = nn.ModuleList(
            (
                residual(nn.Conv2d(channels, hidden, 1)),
                residual(up_conv(up, hidden, hidden) if up else nn.Conv2d(hidden, hidden, 3, padding=1)),
                residual(nn.Conv2d(hidden, hidden, 3, padding=1)),
                residual(nn.Conv2d(hidden, out, 1)),
            )
        )

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        r = h
        for norm, conv in zip(self.norms, self.convs, strict=True):
            r = conv(F.relu(norm(r, condition)))
        skip = h[:, : self.out]
        return r + (upsample(skip, self.up) if self.up else skip)


class DiscriminatorBottleneck(nn.Module):
    """h ↦ conv1x1(down(a(conv3x3(a(conv3x3(a(conv1x1(a(h))))))))) + [s, conv1x1(s)], s = down(h), a = relu ∘ norm.

    BigGAN-deep's block, with C'/4 channels inside: `(B, C, H, W)` -> `(B, C', H/2, W/2)`, C' ≥ C; the shortcut's
    convolution adds the channels that h lacks. Without `down` the size stays. down is by averages of 2x2.
    """

    def __init__(self, channels: int, out: int, norm: ModuleFactory, down: bool = False):
        super().__init__()
        hidden = max(1, out // 4)
        self.down = down
        self.norms = nn.ModuleList(norm(c) for c in (channels, hidden, hidden, hidden))
        self.convs = nn.ModuleList(
            (
                residual(nn.Conv2d(channels, hidden, 1)),
                residual(nn.Conv2d(hidden, hidden, 3, padding=1)),
                residual(nn.Conv2d(hidden, hidden, 3, padding=1)),
                residual(nn.Conv2d(hidden, out, 1)),
            )
        )
        self.shortcut = nn.Conv2d(channels, out - channels, 1) if out > channels else None

    def forward(self, h: Tensor) -> Tensor:
        r = h
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            r = F.relu(norm(r))
            r = conv(F.avg_pool2d(r, 2) if self.down and i == 3 else r)
        skip = F.avg_pool2d(h, 2) if self.down else h
        return r + (skip if self.shortcut is None else torch.cat([skip, self.shortcut(skip)], 1))
