"""What every feature extractor shares: the input contract, the fingerprint, loading weights from a file."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.machine import full_float32
from gantrick.metric.features.folding import folded

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601; the sum is 1, so grey repeated to RGB comes back unchanged

Weights = tuple[tuple[int, int], ...]


class MissingWeights(FileNotFoundError):
    """The weights that an extractor needs are not on this machine; the message says how to get them."""


class Extractor(nn.Module):
    """A network from images to feature vectors.

    Once frozen, as `extractor` gives it, it is always in eval mode, without gradients and in full float32,
    whatever the caller's autocast, TF32 or `train()` says: the same image must always give the same feature.
    """

    name: str
    """the extractor's name in the registry"""
    dim: int
    """the number of features F"""
    resizer: str
    """how images are brought to the network's size"""
    resizers: Mapping[str, str] = {}
    """the ways there are to do so, where there is a choice: name -> what `resizer` then says"""
    frozen: bool = False
    _quick: tuple[Weights, nn.Module] | None = None
    _hashed: tuple[Weights, str] | None = None

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W), C in {1, 3} -> float32 in [0, 1], of the network's channels and size."""
        raise NotImplementedError

    def embed(self, inputs: Tensor) -> Tensor:
        """What `prepare` gives -> features (B, F); differentiable."""
        raise NotImplementedError

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, F) -> class logits (B, K)."""
        raise NotImplementedError

    def freeze(self) -> Self:
        """No more training: eval mode for good, and no gradients."""
        self.frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As in torch, but a frozen extractor stays in eval mode."""
        return super().train(mode and not self.frozen)

    @torch.no_grad()
    def forward(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """uint8 (B, C, H, W), C in {1, 3} -> features float32 (B, F), on the extractor's device.

        images: or several such of any sizes, whose rows follow one another.
        """
        device = next(self.parameters()).device
        parts = [images] if isinstance(images, Tensor) else images
        for part in parts:
            check_images(part, self.name)
        with torch.autocast(device.type, enabled=False), full_float32():
            prepared = [self.prepare(part.to(device)) for part in parts]
            return self.embed(prepared[0] if len(prepared) == 1 else torch.cat(prepared)).float()

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W), C in {1, 3} -> class logits float32 (B, K), on the extractor's device."""
        features = self(images)
        with torch.autocast(features.device.type, enabled=False), full_float32():
            return self.classify(features)

    def quick(self, network: nn.Module) -> nn.Module:
        """The part `network` as it runs fastest: `folded` once frozen, and anew where weights were changed or moved."""
        if not self.frozen:
            return network
        if self._quick is None or self._quick[0] != self._weights():
            self._quick = self._weights(), folded(network)
        return self._quick[1]

    @property
    def fingerprint(self) -> str:
        """First 12 hex digits of the sha256 over the state dict: names and tensors' bytes, by name.

        It always speaks of the weights in use, and is computed anew where they were changed or moved.
        """
        if self._hashed is None or self._hashed[0] != self._weights():
            digest = hashlib.sha256()
            for name, tensor in sorted(self.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            self._hashed = self._weights(), digest.hexdigest()[:12]
        return self._hashed[1]

    def _weights(self) -> Weights:
        """Where all weights lie, and torch's count of the writes to each."""
        return tuple((tensor.data_ptr(), tensor._version) for tensor in chain(self.parameters(), self.buffers()))


def check_images(images: Tensor, who: str) -> None:
    """Refuse anything but uint8 (B, C, H, W) with C in {1, 3}."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"{who} takes uint8 images (B, C, H, W) with C 1 or 3, but got {images.dtype} "
            f"{tuple(images.shape)}; quantise them to uint8 first"
        )


def to_channels(images: Tensor, channels: int) -> Tensor:
    """float (B, C, H, W), C in {1, 3} -> (B, channels, H, W): grey is repeated, colour becomes its luma."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    weights = torch.tensor(LUMA, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def resize(images: Tensor, size: int, mode: str = "bilinear") -> Tensor:
    """float (B, C, H, W) -> (B, C, size, size): align_corners=False, antialiased when shrinking, as Pillow does it."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode=mode, align_corners=False, antialias=True)


def load_into(
    network: nn.Module, path: Path, who: str, rename: Callable[[str], str | None] = lambda name: name
) -> None:
    """Load a state dict file (tensors only, any float type) into `network`, in float32.

    rename: a name in the file -> the network's, or None for what it has no place for.

    Raises ValueError in one sentence where the file is not a state dict of this network.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        named = ((rename(key), value) for key, value in found.items())
        state = {key: value.float() if value.is_floating_point() else value for key, value in named if key is not None}
        network.load_state_dict(state)
    except (RuntimeError, AttributeError, EOFError, LookupError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{who} cannot use {path} as its weights ({reason}); give a state dict of its network"
        ) from error
