"""stl10: photographs of ten kinds of things, most of them without a label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image

from gantrick.dataset._download import bring, data_root
from gantrick.dataset._files import fit
from gantrick.types import Bound, ConfigError, Dataset, DataShape, Paper, Pictures, Samples

BYTES = 3 * 96 * 96  # of a picture


class Stl10(Dataset):
    """105,000 photographs, and 8,000 to test: uint8 (N, 3, size, size) (Coates et al. 2011).

    The train split is the 5,000 with labels and the 100,000 without, as in the GAN papers, of 48 pixels as in SNGAN
    (arXiv 1802.05957); the original's 96 are resized by Pillow's antialiased Lanczos filter. With `unlabeled: false`
    it is the 5,000, and there are labels 0–9. Read from stl10_binary in `root` (null: $GANTRICK_DATA, else
    ~/.cache/gantrick-data), downloaded (2.6 GB) where it is not there and `download` allows. Raises ConfigError that
    names the missing files.
    """

    paper = Paper(
        "coates2011stl10",
        "An Analysis of Single-Layer Networks in Unsupervised Feature Learning",
        "Adam Coates and Honglak Lee and Andrew Y. Ng",
        2011,
        venue="International Conference on Artificial Intelligence and Statistics",
    )

    def __init__(
        self,
        size: Annotated[int, Bound(ge=1, le=96)] = 48,
        unlabeled: bool = True,
        root: str | None = None,
        download: bool = True,
        flip: bool = False,
    ):
        self.size = size
        self.unlabeled = unlabeled
        self.root = root
        self.download = download
        self.flip = flip

    @property
    def data(self) -> DataShape:
        return DataShape((3, self.size, self.size), None if self.unlabeled else 10)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        folder = data_root(self.root) / "stl10_binary"
        parts = ["train", "unlabeled"] if self.unlabeled and split == "train" else [split]
        needed = [folder / f"{part}_X.bin" for part in parts]
        if not self.unlabeled:
            needed.append(folder / f"{split}_y.bin")
        self._fetch(needed)
        pictures = Binaries(needed[: len(parts)], self.size)
        if self.unlabeled:
            return Samples(pictures)
        labels = np.fromfile(needed[-1], np.uint8).astype(np.int64) - 1  # 1–10 in the file
        if len(labels) != len(pictures) or labels.min() < 0 or labels.max() > 9:
            raise ConfigError(f"dataset stl10: {needed[-1]} does not fit {needed[0]}; fetch both anew")
        return Samples(pictures, torch.from_numpy(labels))

    def _fetch(self, needed: list[Path]) -> None:
        if all(file.is_file() and file.stat().st_size > 0 for file in needed):
            return
        from torchvision.datasets import STL10  # slow to import
        from torchvision.datasets.utils import check_integrity, download_url, extract_archive

        root = needed[0].parent.parent
        packed = root / STL10.filename

        def fetch(aside: str) -> None:
            sound = check_integrity(str(packed), STL10.tgz_md5)
            if not sound:
                download_url(STL10.url, aside, STL10.filename, STL10.tgz_md5)
            extract_archive(str(packed if sound else Path(aside) / STL10.filename), aside)

        names = ", ".join(file.name for file in needed)
        remedy = f"put {names} into {needed[0].parent}, or {STL10.filename} into {root}, or name it with dataset.root"
        bring("stl10", fetch, root, self.download, remedy)


class Binaries(Pictures):
    """Pictures of STL-10's files one after the other: 3·96·96 bytes each, colours apart, column after column."""

    def __init__(self, files: list[Path], size: int):
        counts = []
        for file in files:
            count, rest = divmod(file.stat().st_size, BYTES)
            if rest or not count:
                raise ConfigError(f"dataset stl10: {file} is truncated, it has {rest} bytes too many; fetch it anew")
            counts.append(count)
        super().__init__((3, size, size), sum(counts))
        self.files, self.ends = files, np.cumsum(counts)

    def decode(self, number: int) -> np.ndarray:
        file = int(np.searchsorted(self.ends, number, side="right"))
        first = int(self.ends[file - 1]) if file else 0
        found = np.fromfile(self.files[file], np.uint8, BYTES, offset=(number - first) * BYTES)
        image = found.reshape(3, 96, 96).transpose(0, 2, 1)
        size = self.shape_of_one[1]
        return image if size == 96 else fit(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), 3, size)

    def name(self, number: int) -> str:
        return f"number {number} of {' and '.join(file.name for file in self.files)}"
