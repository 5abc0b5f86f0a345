"""Looking into a trained generator: what each code does, and what an encoder makes of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playing import Game, recipe

from gantrick import cli, sampling
from gantrick.feed import stream, to_uint8
from gantrick.gan import GAN, bring_together
from gantrick.sampling import Trained, evaluating
from gantrick.tracking.console import Console
from gantrick.tracking.grid import MARGIN, ROOM
from gantrick.trainer import run
from gantrick.trick.rejection_sampling import RejectionSampling
from gantrick.types import ConfigError, GantrickError, Latents

CODES = {"infogan": {"categorical": [3, 2], "continuous": 1}}  # of z the entries 6–8, 9–10 and 11
LABELS = {"conditional_batch_norm": {}, "projection": {}}
RING: dict[str, Any] = {"dataset": {"name": "ring"}, "model": {"name": "mlp", "z_size": 6}}


def opened(**parts: Any) -> Trained:
    """A run after a round, without a folder."""
    made = recipe(**parts)
    return Trained(made, Game(made).rounds(1).gan, 1, Path("runs/mine"))


@contextmanager
def seen(trained: Trained) -> Iterator[list[Latents]]:
    """The latents that the generator is called with, inside."""
    found: list[Latents] = []
    network, _ = sampling.generator_of(trained.gan)
    handle = network.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    yield found
    handle.remove()


# --- codes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_along_a_row_one_code_changes_and_nothing_else(distribution: str) -> None:
    trained = opened(trick=CODES, model={"z_distribution": distribution})
    with seen(trained) as latents:
        found = trained.traverse(5, seed=3)
    wanted = {
        "c1": (slice(6, 9), np.eye(3)),
        "c2": (slice(9, 11), np.eye(2)),
        "c3": (slice(11, 12), np.linspace(-2, 2, 9)[:, None]),
    }
    assert list(found) == list(wanted)
    source = torch.Generator().manual_seed(stream(3, "latents 0"))
    drawn = trained.gan.latents(5, source).z.numpy()
    for (name, (place, ways)), used in zip(wanted.items(), latents, strict=True):
        z = used.z.numpy().reshape(5, len(ways), 12)
        np.testing.assert_allclose(z[:, :, place], np.broadcast_to(ways, (5, *ways.shape)), atol=1e-6)
        rest = [j for j in range(12) if not place.start <= j < place.stop]
        np.testing.assert_array_equal(z[:, :, rest], np.broadcast_to(drawn[:, None, rest], (5, len(ways), len(rest))))
        with torch.no_grad(), evaluating(trained.gan.generator):
            alone = torch.cat([trained.gan.generator(Latents(torch.from_numpy(row))) for row in z])
        torch.testing.assert_close(found[name], alone, rtol=1e-4, atol=1e-5)
    assert len({tuple(row) for row in drawn}) == 5, "each row has a z of its own"


def test_labels_are_the_rows() -> None:
    trained = opened(loss="hinge", trick={**CODES, **LABELS})
    with seen(trained) as latents:
        trained.traverse(3, labels=[7, 1])
    assert latents[0].labels is not None and latents[0].labels.tolist() == [7] * 3 + [1] * 3 + [7] * 3
    with seen(trained) as latents:
        trained.traverse(3, seed=2)
    drawn = trained.gan.latents(3, torch.Generator().manual_seed(stream(2, "latents 0"))).labels
    assert latents[0].labels is not None and drawn is not None
    assert latents[0].labels.view(3, 3).T.unique(dim=0).tolist() == [drawn.tolist()]


def test_between_two_latents_codes_stay_codes() -> None:
    """Kinds are those of the nearer end, a continuous code goes along the line; noise along its own great circle."""
    trained = opened(trick=CODES)
    with seen(trained) as latents:
        trained.interpolate(4, 5, seed=1)
    z = latents[0].z.double().numpy().reshape(4, 5, 12)
    ends = trained.gan.latents(8, torch.Generator().manual_seed(stream(1, "latents 0"))).z.double().numpy()
    a, b = ends.reshape(4, 2, 12)[:, 0], ends.reshape(4, 2, 12)[:, 1]
    for column, t in enumerate(np.linspace(0, 1, 5)):
        np.testing.assert_array_equal(z[:, column, 6:11], (a if t < 0.5 else b)[:, 6:11])
        np.testing.assert_allclose(z[:, column, 11], (1 - t) * a[:, 11] + t * b[:, 11], atol=1e-6)
        for row in range(4):
            x, y = a[row, :6], b[row, :6]
            angle = np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
            around = (np.sin((1 - t) * angle) * x + np.sin(t * angle) * y) / np.sin(angle)
            np.testing.assert_allclose(z[row, column, :6], around, atol=1e-6)


@pytest.mark.parametrize(("distribution", "reach"), [("normal", 2.0), ("uniform", 1.0)])
def test_entries_that_are_named(distribution: str, reach: float) -> None:
    trained = opened(model={"z_distribution": distribution})
    with seen(trained) as latents:
        found = trained.traverse(2, entries=[4, 0])
    assert list(found) == ["z4", "z0"] and [len(images) for images in found.values()] == [18, 18]
    z = latents[0].z.view(2, 9, 6)
    torch.testing.assert_close(z[1, :, 4], torch.linspace(-reach, reach, 9))
    assert (z[:, 1:, [0, 1, 2, 3, 5]] == z[:, :1, [0, 1, 2, 3, 5]]).all()


@pytest.mark.parametrize(
    ("parts", "asked", "fault"),
    [
        ({}, {}, "runs/mine: has no codes, as trick=infogan gives them, and no entry of z means anything by itself; "),
        ({}, {"entries": [6]}, "runs/mine: z has the entries 0 to 5; ask for one of these"),
        ({"trick": CODES}, {"labels": [1]}, "the run is not conditional, so no label can be asked for"),
        (RING, {"entries": [0]}, "runs/mine: makes points, and a traversal is looked at"),
    ],
)
def test_traversals_that_make_no_sense(parts: dict[str, Any], asked: dict[str, Any], fault: str) -> None:
    with pytest.raises(GantrickError, match=fault):
        opened(**parts).traverse(2, **asked)


def test_codes_are_not_truncated_by_a_command_either() -> None:
    with pytest.raises(ConfigError, match="truncation: codes are not noise, and would be moved; leave truncation out"):
        opened(trick=CODES).truncate(0.5)


# --- an encoder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("distribution", "deviation"), [("normal", 1.0), ("uniform", 3**-0.5)])
def test_the_latents_are_the_code_without_mean_and_deviation(distribution: str, deviation: float) -> None:
    trained = opened(loss="o_gan", model={"z_distribution": distribution, "init": "default"})
    images = trained.gan.assembly.dataset.load().images[:5]
    with seen(trained) as latents:
        found = trained.reconstruct(images)
    with torch.no_grad(), evaluating(trained.gan.discriminator):
        code = trained.gan.discriminator(images.float() / 127.5 - 1).extra["code"].double().numpy()
    z = latents[0].z.double().numpy()
    expected = deviation * (code - code.mean(1, keepdims=True)) / code.std(1, keepdims=True)
    np.testing.assert_allclose(z, expected, atol=1e-5)
    with torch.no_grad(), evaluating(trained.gan.generator):
        torch.testing.assert_close(found, trained.gan.generator(latents[0]))
    assert found.shape == (5, 1, 8, 8) and trained.gan.discriminator.training


def test_a_trained_encoder_knows_which_fake_it_sees() -> None:
    """After some rounds in which z is all that is played for, G(E(G(z))) is nearer to G(z) than to another's."""
    game = Game(recipe("o_gan", trick={"simultaneous": {}}, model={"z_size": 4, "g_width": 16, "d_width": 16}))
    loss: Any = game.gan.stages["d_loss"][0]
    loss.square_weight, loss.code_weight = 0.0, 50.0
    game.rounds(120)
    trained = Trained(game.gan.assembly.recipe, game.gan, 120, Path("runs/mine"))
    fakes = trained.sample(64)
    again = trained.reconstruct(to_uint8(fakes))
    own = (again - fakes).square().mean((1, 2, 3))
    other = (again - fakes.roll(1, 0)).square().mean((1, 2, 3))
    assert own.mean() < 0.5 * other.mean()


def test_labels_of_reconstructions() -> None:
    trained = opened(loss="o_gan", trick={"label_concat": {}})
    images = trained.gan.assembly.dataset.load().images[:3]
    asked: list[Any] = []
    trained.gan.discriminator.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[1].tolist()))
    with seen(trained) as latents:
        trained.reconstruct(images, labels=[4, 2])
    assert latents[0].labels is not None and asked == [latents[0].labels.tolist()] == [[4, 2, 4]]
    with pytest.raises(GantrickError, match="G is asked for a label, and pictures have none; give theirs with --label"):
        trained.reconstruct(images)


def test_a_run_without_an_encoder_is_refused() -> None:
    with pytest.raises(GantrickError, match="has no encoder, so it reconstructs nothing; a run with loss=o_gan does"):
        opened(trick=CODES).reconstruct(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_pictures_are_cut_as_those_of_the_run_which_need_not_be_there(tmp_path: Path) -> None:
    """CelebA's `crop` of the middle, and a number of pictures; no CelebA is on this machine."""
    colours = np.random.default_rng(0).integers(0, 256, (2, 60, 50, 3), dtype=np.uint8)
    for name, image in zip("ba", colours, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    made = recipe(dataset={"name": "celeba", "size": 16, "crop": 40, "path": str(tmp_path / "gone")})
    trained = Trained(made, GAN(bring_together(made), torch.device("cpu")), 0, Path("runs/mine"))
    (found,) = trained.pictures(tmp_path, 1).numpy()
    square = Image.fromarray(colours[1, 10:50, 5:45]).resize((16, 16), Image.Resampling.LANCZOS)
    assert (found == np.asarray(square).transpose(2, 0, 1)).all()
    with pytest.raises(GantrickError, match="pictures are made square, and the run's data are points"):
        opened(**RING).pictures(tmp_path, 1)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folders of runs of one step, each trained once."""
    folder, done = tmp_path_factory.mktemp("runs"), dict[str, Path]()

    def trained(name: str, **parts: Any) -> Path:
        if name not in done:
            settings = {"steps": 1, "batch_size": 6, "sample_every": 0, "eval_every": 0, "device": "cpu"}
            made = recipe(**{**settings, "wandb": {"mode": "disabled"}, **parts})
            assert run(made, folder / name, console=Console(quiet=True)) == 0
            done[name] = folder / name
        return done[name]

    return trained


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_picture_for_each_code(
    kept: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = kept("codes", trick=CODES)
    assert cli.main(["sample", str(folder), "--traverse", "--n", "3", "--seed", "4"]) == 0
    assert capsys.readouterr().out.split() == ["traversal-c1.png", "traversal-c2.png", "traversal-c3.png"]
    found = sampling.load(folder).traverse(3, 4)
    for name, columns in (("c1", 3), ("c2", 2), ("c3", 9)):
        picture, side = pixels(tmp_path / f"traversal-{name}.png"), 56  # 8 pixels times 7
        assert picture.shape == (3 * (side + MARGIN) + 2 * ROOM + MARGIN, columns * (side + MARGIN) + MARGIN)
        images = to_uint8(found[name])[:, 0].numpy()
        for place, image in enumerate(images):
            row, column = divmod(place, columns)
            top, left = row * (side + MARGIN + ROOM) + MARGIN, column * (side + MARGIN) + MARGIN
            assert (picture[top : top + side : 7, left : left + side : 7] == image).all()
    assert cli.main(["sample", str(folder), "--traverse", "--entry", "2", "--grid", "one.png"]) == 0
    assert capsys.readouterr().out == "one.png\n" and pixels(tmp_path / "one.png").shape[0] == 8 * 58 + 7 * ROOM + 2


def test_pictures_over_their_reconstructions(
    kept: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The originals are the central squares, grey and resized as Pillow does it here."""
    monkeypatch.chdir(tmp_path)
    folder = kept("encoder", loss="o_gan", model={"init": "default"})
    (tmp_path / "mine").mkdir()
    rng, wanted = np.random.default_rng(0), []
    for number in range(10):
        colours = rng.integers(0, 256, (20, 31, 3), dtype=np.uint8)
        Image.fromarray(colours).save(tmp_path / "mine" / f"{number:02d}.png")
        square = Image.fromarray(colours[:, 5:25]).convert("L").resize((8, 8), Image.Resampling.LANCZOS)
        wanted.append(np.asarray(square))
    assert cli.main(["sample", str(folder), "--reconstruct", "mine"]) == 0
    assert capsys.readouterr().out == "samples.png\n"
    picture, side = pixels(tmp_path / "samples.png"), 56
    assert picture.shape == (4 * (side + MARGIN) + ROOM + MARGIN, 8 * (side + MARGIN) + MARGIN)
    originals = torch.from_numpy(np.stack(wanted))[:, None]
    again = to_uint8(sampling.load(folder).reconstruct(originals))[:, 0].numpy()
    for place in range(10):
        block, column = divmod(place, 8)
        top, left = block * (2 * (side + MARGIN) + ROOM) + MARGIN, column * (side + MARGIN) + MARGIN
        for image, below in ((wanted[place], 0), (again[place], side + MARGIN)):
            assert (picture[top + below : top + below + side : 7, left : left + side : 7] == image).all()
    assert (picture[-(side + MARGIN) :, 2 * (side + MARGIN) + MARGIN :] == 255).all(), "two places are empty"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("--traverse --interpolate", "argument --interpolate: not allowed with argument --traverse"),
        ("--traverse --npz a.npz", "--traverse: is a picture; leave --npz and --folder out"),
        ("--reconstruct mine --folder all", "--reconstruct: is a picture; leave --npz and --folder out"),
        ("--entry 3", "--entry: says what to traverse; add --traverse"),
        ("--traverse {run}", "--traverse: is of one generator's latents; name one run"),
        ("--reconstruct nowhere", "--reconstruct: nowhere does not exist; give a folder of pictures, or a zip of them"),
        ("--reconstruct bad", "--reconstruct: cannot read 1 of 1 pictures in bad: a.png (not a picture); mend or remove"),
    ],
)  # fmt: skip
def test_refusals_of_the_command(
    kept: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    fault: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("no picture")
    folder = kept("encoder", loss="o_gan", model={"init": "default"})
    assert cli.main(["sample", str(folder), *words.format(run=folder).split()]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"gantrick sample: error: {fault}") and told.count("\n") == 1


# --- labels and refusals ---------------------------------------------------------------------------------------------


def test_samples_of_named_labels_stand_in_their_places_whatever_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """31 samples are asked for by the labels 7, 2, 2 over and over, and of each batch every other one is refused."""
    calls = 0

    def half(self: object, mask: torch.Tensor, images: torch.Tensor, output: object) -> torch.Tensor:
        nonlocal calls
        calls += len(images)
        return mask & (torch.arange(len(images)) % 2 == calls % 2)

    monkeypatch.setattr(RejectionSampling, "accept", half)
    trained = opened(trick={**LABELS, "rejection_sampling": {"samples": 50}})
    asked = [7, 2, 2]

    def told(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.cat([labels[:, None].float(), images.flatten(1)], 1)

    found = torch.cat(list(sampling.draw(trained.gan, 31, 5, 4, through=told, labels=asked)))
    assert [int(label) for label in found[:, 0]] == [asked[place % 3] for place in range(31)]
    assert len({tuple(row.tolist()) for row in found}) == 31 and calls > 31
    assert list(sampling.draw(trained.gan, 0, 5, 4, labels=asked)) == []


def test_a_label_of_which_all_is_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_twos(self: object, mask: torch.Tensor, images: torch.Tensor, output: Any) -> torch.Tensor:
        return mask & ~seen_labels[-1].eq(2)

    seen_labels: list[torch.Tensor] = []
    monkeypatch.setattr(RejectionSampling, "accept", no_twos)
    monkeypatch.setattr(sampling, "PATIENCE", 3)
    trained = opened(trick={**LABELS, "rejection_sampling": {"samples": 50}})
    network, _ = sampling.generator_of(trained.gan)
    network.register_forward_pre_hook(lambda _, inputs: seen_labels.append(inputs[0].labels))
    with pytest.raises(GantrickError, match="every sample of label 2 was refused"):
        list(sampling.draw(trained.gan, 20, 5, 4, labels=[7, 2, 3]))
