"""celeba: faces of celebrities, aligned."""

from __future__ import annotations

from typing import Annotated, Literal

from gantrick.dataset._download import placed
from gantrick.dataset._files import Files, find, numbers
from gantrick.types import Bound, ConfigError, Count, Dataset, DataShape, Paper, Samples


class Celeba(Dataset):
    """202,599 faces of 178 x 218 pixels: uint8 (N, 3, size, size), no labels (Liu et al., arXiv 1411.7766).

    A square of `crop` pixels in the middle is resized by Pillow's antialiased Lanczos filter: 178 is all of the width,
    108 the closer cut of DCGAN's code. All pictures train, as in most GAN papers; with `held_out` the official
    162,770 do, and the official 19,962 are the test split. Google has it behind a form, so fetch img_align_celeba.zip
    (mmlab.ie.cuhk.edu.hk/projects/CelebA.html) by hand and put it, or the folder in it, into celeba in $GANTRICK_DATA
    (else ~/.cache/gantrick-data), or name it with `path`. A zip is read as it lies. Raises ConfigError where it is not
    there.
    """

    paper = Paper(
        "liu2015celeba",
        "Deep Learning Face Attributes in the Wild",
        "Ziwei Liu and Ping Luo and Xiaogang Wang and Xiaoou Tang",
        2015,
        arxiv="1411.7766",
        venue="International Conference on Computer Vision",
    )

    def __init__(
        self,
        size: Count = 64,
        crop: Annotated[int, Bound(ge=1, le=178)] = 178,
        held_out: bool = False,
        path: str | None = None,
        flip: bool = False,
    ):
        self.size = size
        self.crop = crop
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
        source = "fetch img_align_celeba.zip from mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
        path = placed("celeba", self.path, "celeba/img_align_celeba", source=source)
        names = find(path)
        pictures = Files(path, names, self.size, crop=self.crop)
        if not self.held_out:
            return Samples(pictures)
        number = numbers("celeba", path, names)  # from 1; the official lists are ranges of it
        chosen = number <= 162_770 if split == "train" else number > 182_637
        if not chosen.any():
            raise ConfigError(f"dataset celeba: {path} has no pictures of the {split} split; fetch it whole")
        return Samples(pictures.take(chosen.nonzero()[0]))
