"""Pictures, opened with Pillow and compared pixel by pixel with numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantrick.tracking.grid import MARGIN, SCATTER, save_grid


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def random_images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


@pytest.mark.parametrize(("side", "factor"), [(8, 7), (28, 2), (32, 2), (16, 4), (20, 3), (48, 1), (64, 1), (128, 1)])
def test_small_images_are_enlarged_by_whole_factors(tmp_path: Path, side: int, factor: int) -> None:
    images = random_images(1, 1, side, side)
    save_grid(images, tmp_path / "a.png")
    found = pixels(tmp_path / "a.png")
    assert found.shape == (side * factor + 2 * MARGIN,) * 2
    expected = np.kron(images[0, 0].numpy(), np.ones((factor, factor), np.uint8))
    assert np.array_equal(found[MARGIN:-MARGIN, MARGIN:-MARGIN], expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_tile_is_in_its_place(tmp_path: Path, channels: int) -> None:
    images = random_images(5, channels, 6, 4)
    save_grid(images, tmp_path / "a.png", columns=2, scale=3)
    found = pixels(tmp_path / "a.png").reshape(3 * (18 + MARGIN) + MARGIN, 2 * (12 + MARGIN) + MARGIN, channels)
    expected = np.full_like(found, 255)  # margins and the empty place are white
    for i, image in enumerate(images.numpy()):
        top, left = (i // 2) * (18 + MARGIN) + MARGIN, (i % 2) * (12 + MARGIN) + MARGIN
        expected[top : top + 18, left : left + 12] = np.kron(image.transpose(1, 2, 0), np.ones((3, 3, 1), np.uint8))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (10, 3, 4), (64, 8, 8)])
def test_the_grid_is_nearly_square(tmp_path: Path, count: int, rows: int, columns: int) -> None:
    save_grid(random_images(count, 3, 64, 64), tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").shape == (rows * (64 + MARGIN) + MARGIN, columns * (64 + MARGIN) + MARGIN, 3)


def marked(picture: np.ndarray) -> tuple[float, float]:
    """The centre (x, y) of what is drawn in the colour of points: more blue than red."""
    y, x = np.nonzero(picture[..., 2].astype(int) - picture[..., 0] > 20)
    return x.mean(), y.mean()


@pytest.mark.parametrize("point", [(0.0, 0.0), (1.0, 0.5), (-1.5, -1.0), (0.3, 1.7)])
def test_a_point_is_where_it_belongs(tmp_path: Path, point: tuple[float, float]) -> None:
    save_grid(torch.tensor([point]), tmp_path / "a.png", limits=(-2.0, 2.0))
    picture = pixels(tmp_path / "a.png")
    assert picture.shape == (SCATTER, SCATTER, 3)
    border = 24
    inner = SCATTER - 2 * border
    x, y = marked(picture)
    assert abs(x - (border + inner * (point[0] + 2) / 4)) <= 1
    assert abs(y - (SCATTER - border - inner * (point[1] + 2) / 4)) <= 1  # y upwards


def test_limits_hold_still_while_the_points_move(tmp_path: Path) -> None:
    angle = torch.linspace(0, 2 * torch.pi, 101)
    for radius in (1.1, 1.4, 1.9):
        save_grid(radius * torch.stack([angle.cos(), angle.sin()], 1), tmp_path / "a.png")
        picture = pixels(tmp_path / "a.png")
        _, x = np.nonzero(picture[..., 2].astype(int) - picture[..., 0] > 20)
        width = 2 * radius * (SCATTER - 48) / 4 + 4  # in a frame from -2 to 2, dots of 5 pixels
        assert abs((x.max() - x.min()) - width) <= 1


def test_points_outside_lie_on_the_frame_and_those_not_finite_nowhere(tmp_path: Path) -> None:
    bad = torch.tensor([[float("nan"), 0.0], [float("inf"), 1.0]])
    save_grid(torch.cat([bad, torch.tensor([[100.0, 0.0]])]), tmp_path / "a.png", limits=(-1.0, 1.0))
    x, y = marked(pixels(tmp_path / "a.png"))
    assert abs(x - (SCATTER - 24)) <= 1 and abs(y - SCATTER / 2) <= 1
    save_grid(bad, tmp_path / "b.png")
    picture = pixels(tmp_path / "b.png")
    assert not (picture[..., 2].astype(int) - picture[..., 0] > 20).any()


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(4, 1, 8, 8),
        torch.zeros(4, 2, 8, 8, dtype=torch.uint8),
        torch.zeros(0, 1, 8, 8, dtype=torch.uint8),
        torch.zeros(4, 5),
    ],
    ids=["floats", "two channels", "none", "five dimensions"],
)
def test_what_is_no_picture_is_refused_and_leaves_nothing(tmp_path: Path, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="a picture is drawn of"):
        save_grid(images, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_no_half_picture_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_grid(random_images(1, 1, 8, 8), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def fail(self: Image.Image, file: Path, **_: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        save_grid(random_images(1, 1, 8, 8), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
