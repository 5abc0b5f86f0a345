from __future__ import annotations

from torch import Tensor

from gantrick.stages import Component, Forbidden
from gantrick.types import ConfigError, Count, NetworkSpec, Paper


class Pacgan(Component):
    """D judges packs of m samples of one source: (B, C, H, W) -> (B/m, m C, H, W), and only its first layer changes.

    A pack is m samples that follow one another; a score, a penalty's norm and a sample weight are a pack's. m is
    `size`; it divides every batch, and every process's share of it: a run whose batches it does not divide is refused.
    Source: Lin et al., arXiv 1712.04086, with m from 2 to 4.
    """

    paper = Paper(
        "lin2018pacgan",
        "PacGAN: The Power of Two Samples in Generative Adversarial Networks",
        "Lin, Zinan and Khetan, Ashish and Fanti, Giulia and Oh, Sewoong",
        2018,
        "1712.04086",
        "Advances in Neural Information Processing Systems",
    )
    claims = frozenset({"d.input"})
    forbids = {
        "d.labels": Forbidden(
            "a pack is judged as one, and its samples have each their label", "leave one of them out"
        ),
        "z.codes": Forbidden("a pack is judged as one, and its samples have each their codes", "leave one of them out"),
    }
    provides = frozenset({"d.packs"})
    neutral = {"size": 1}

    def __init__(self, size: Count = 2):
        super().__init__()
        self.size = self.batch_multiple = size

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        channels = (spec.d_channels or spec.data.shape[0]) * self.size
        return spec.but(f"D input: packs of {self.size}", d_channels=channels)

    def pack(self, images: Tensor) -> Tensor:
        if len(images) % self.size:
            raise ConfigError(
                f"{self.label}.size: packs of {self.size} do not fit in {len(images)} samples; choose a batch_size and "
                f"generator_batch_size that are multiples of {self.size}"
            )
        return images.reshape(len(images) // self.size, -1, *images.shape[2:])
