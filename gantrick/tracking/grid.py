"""Samples as one picture: a grid of images, or a scatter of points. Written with Pillow."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

TILE = 56  # pixels: what the longer side of a small image is brought near to
MARGIN = 2  # pixels between tiles and around them
ROOM = 10  # more pixels between blocks of rows
SCATTER = 480  # pixels: the side of a scatter
LINE, AXIS, POINT = (128, 128, 128), (225, 225, 225), (31, 90, 170, 110)


def save_grid(
    images: Tensor,
    path: Path,
    columns: int | None = None,
    scale: int | None = None,
    limits: tuple[float, float] | None = None,
    block: int | None = None,
) -> None:
    """Writes a PNG of uint8 images `(N, C, H, W)`, C 1 or 3, or of points `(N, 2)`. Raises ValueError on another shape.

    columns: tiles in a row; by default the grid is nearly square. scale: the whole factor that images are enlarged by.
    block: so many rows stand together, with room before the next; None: all of them.
    limits: of both axes of a scatter; by default the 1, 2 or 5 × 10^k that holds nearly all points, so that the frame
    seldom moves. Points beyond it lie on the frame; those that are not finite are not drawn.
    """
    images = images.detach().cpu()
    if images.ndim == 2 and images.shape[1] == 2:
        picture = _scatter(images.double(), limits)
    elif images.ndim == 4 and images.dtype == torch.uint8 and images.shape[1] in (1, 3) and len(images) > 0:
        picture = _tiles(images, columns, scale, block)
    else:
        shape = tuple(images.shape)
        raise ValueError(
            f"a picture is drawn of uint8 images (N, 1 or 3, H, W) or points (N, 2), not {images.dtype} {shape}"
        )
    # A reader that looks while the picture is drawn, or after the run was killed, finds no half of it.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        picture.save(partial, format="PNG")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_pairs(above: Tensor, below: Tensor, path: Path, columns: int = 8) -> None:
    """Writes a PNG of uint8 images `(N, C, H, W)`, each with its own of other N below it, a pair of rows at a time."""
    columns = min(columns, len(above))
    empty = above.new_full((-len(above) % columns, *above.shape[1:]), 255)
    rows = [torch.cat([images, empty]).view(-1, columns, *images.shape[1:]) for images in (above, below)]
    save_grid(torch.stack(rows, 1).flatten(0, 2), path, columns, block=2)


def save_each(images: Tensor, folder: Path) -> None:
    """Writes uint8 images `(N, C, H, W)`, C 1 or 3, as 0000000.png and so on into a folder, which is made."""
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images.cpu().permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{number:07d}.png")


def _tiles(images: Tensor, columns: int | None, scale: int | None, block: int | None) -> Image.Image:
    count, channels, height, width = images.shape
    scale = scale or max(1, round(TILE / max(height, width)))
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    block = block or rows
    images = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    height, width = height * scale + MARGIN, width * scale + MARGIN
    tall = rows * height + (rows - 1) // block * ROOM + MARGIN
    canvas = torch.full((tall, columns * width + MARGIN, channels), 255, dtype=torch.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * height + row // block * ROOM + MARGIN, column * width + MARGIN
        canvas[top : top + height - MARGIN, left : left + width - MARGIN] = image.permute(1, 2, 0)
    return Image.fromarray((canvas[..., 0] if channels == 1 else canvas).numpy())


def _scatter(points: Tensor, limits: tuple[float, float] | None) -> Image.Image:
    points = points[points.isfinite().all(1)]
    low, high = limits or _limits(points)
    border = 24
    inner = SCATTER - 2 * border
    picture = Image.new("RGB", (SCATTER, SCATTER), "white")
    draw = ImageDraw.Draw(picture, "RGBA")  # this mode blends, so that a dense place looks dense
    zero = inner * (0.0 - low) / (high - low)
    if 0 < zero < inner:
        draw.line((border + zero, border, border + zero, SCATTER - border), fill=AXIS)
        draw.line((border, SCATTER - border - zero, SCATTER - border, SCATTER - border - zero), fill=AXIS)
    draw.rectangle((border, border, SCATTER - border, SCATTER - border), outline=LINE)
    draw.text((border, SCATTER - border + 6), f"{low:g}", fill=LINE)
    draw.text((SCATTER - border, SCATTER - border + 6), f"{high:g}", fill=LINE, anchor="ra")
    at = ((points - low) / (high - low)).clamp(0, 1) * inner + border
    for x, y in at.tolist():
        draw.ellipse((x - 2, SCATTER - y - 2, x + 2, SCATTER - y + 2), fill=POINT)
    return picture


def _limits(points: Tensor) -> tuple[float, float]:
    reach = float(points.abs().amax(1).quantile(0.98)) if len(points) else 0.0
    if reach == 0:
        return -1.0, 1.0
    power = 10.0 ** math.floor(math.log10(reach))
    top = next(factor * power for factor in (1, 2, 5, 10) if reach <= factor * power * (1 + 1e-9))
    return -top, top
