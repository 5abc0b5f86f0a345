"""ffhq: faces of many kinds, from Flickr."""

from __future__ import annotations

from typing import Literal

from gantrick.dataset._download import placed
from gantrick.dataset._files import Files, find, numbers
from gantrick.types import ConfigError, Count, Dataset, DataShape, Paper, Samples


class Ffhq(Dataset):
    """70,000 faces of 1024 x 1024 pixels: uint8 (N, 3, size, size), no labels (Karras et al., arXiv 1812.04948).

    Resized by Pillow's antialiased Lanczos filter. All pictures train, as in the papers; with `held_out` the official
    60,000 do, and the last 10,000 are the test split. Fetch thumbnails128x128 (enough to 128 pixels) or
    images1024x1024 by hand (github.com/NVlabs/ffhq-dataset) and put the folder, or a zip of it, into ffhq in
    $GANTRICK_DATA (else ~/.cache/gantrick-data), or name it with `path`. Raises ConfigError where it is not there.
    """

    paper = Paper(
        "karras2019stylegan",
        "A Style-Based Generator Architecture for Generative Adversarial Networks",
        "Tero Karras and Samuli Laine and Timo Aila",
        2019,
        arxiv="1812.04948",
        venue="Conference on Computer Vision and Pattern Recognition",
    )

    def __init__(self, size: Count = 64, held_out: bool = False, path: str | None = None, flip: bool = False):
        self.size = size
        self.held_out = held_out
        self.path = path
        self.flip = flip

    @property
    def data(self) -> DataShape:
        return DataShape((3, self.size, self.size))

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        if split == "test" and not self.held_out:
            raise ConfigError(
                "dataset.held_out: is false, so all pictures train; set dataset.held_out=true for the official splits"
            )
        places = ["ffhq/thumbnails128x128"] if self.size <= 128 else []
        source = "fetch it from github.com/NVlabs/ffhq-dataset"
        path = placed("ffhq", self.path, *places, "ffhq/images1024x1024", source=source)
        names = find(path)
        pictures = Files(path, names, self.size)
        if not self.held_out:
            return Samples(pictures)
        number = numbers("ffhq", path, names)  # from 0
        chosen = number < 60_000 if split == "train" else number >= 60_000
        if not chosen.any():
            raise ConfigError(f"dataset ffhq: {path} has no pictures of the {split} split; fetch it whole")
        return Samples(pictures.take(chosen.nonzero()[0]))
