"""The weight matrices of a network, for what regularises them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def matrices(network: nn.Module) -> dict[str, bool]:
    """Names of the trainable weights of linear layers and convolutions -> whether (in, out) is their order in memory.

    Of a normalised layer it is the weight beneath, which the optimizer moves.
    """
    found = {}
    for name, layer in network.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)):
            own = "parametrizations.weight.original" if parametrize.is_parametrized(layer, "weight") else "weight"
            found[f"{name}.{own}" if name else own] = isinstance(layer, TRANSPOSED)
    return found


def as_matrix(weight: Tensor, transposed: bool) -> Tensor:
    """A weight as (out, in·kh·kw), float32."""
    return (weight.transpose(0, 1) if transposed else weight).flatten(1).float()
