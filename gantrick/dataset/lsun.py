"""lsun: photographs of one kind of scene or thing."""

from __future__ import annotations

from typing import Literal

from gantrick.dataset._download import placed
from gantrick.dataset._files import Files, find
from gantrick.types import Count, Dataset, DataShape, Paper, Samples


class Lsun(Dataset):
    """Photographs of a `category`, their central square resized: uint8 (N, 3, size, size), no labels.

    Yu et al., arXiv 1506.03365; bedroom has 3,033,042 pictures, and 300 to test. LSUN is given out as LMDB, which is
    not read here: fetch it (github.com/fyu/lsun), export it with that project's `data.py export`, and put the folder
    of pictures, or a zip of it, as lsun/bedroom_train (and lsun/bedroom_val for the test split) into $GANTRICK_DATA,
    else ~/.cache/gantrick-data, or name the training pictures with `path`. Pillow's antialiased Lanczos filter
    resizes. Raises ConfigError where it is not there.
    """

    paper = Paper(
        "yu2015lsun",
        "LSUN: Construction of a Large-scale Image Dataset using Deep Learning with Humans in the Loop",
        "Fisher Yu and Ari Seff and Yinda Zhang and Shuran Song and Thomas Funkhouser and Jianxiong Xiao",
        2015,
        arxiv="1506.03365",
    )

    def __init__(self, category: str = "bedroom", size: Count = 64, path: str | None = None, flip: bool = False):
        self.category = category
        self.size = size
        self.path = path
        self.flip = flip

    @property
    def data(self) -> DataShape:
        return DataShape((3, self.size, self.size))

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        part = "train" if split == "train" else "val"
        source = "fetch its LMDB from github.com/fyu/lsun, export the pictures with its data.py"
        given = self.path if split == "train" else None
        path = placed("lsun", given, f"lsun/{self.category}_{part}", source=source)
        return Samples(Files(path, find(path), self.size))
