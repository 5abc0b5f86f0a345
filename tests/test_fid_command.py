"""`gantrick fid`: what it takes, what it gives, and every way in which a set can be no good. digits_cnn stands for Inception."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gantrick import cli
from gantrick import fid as command
from gantrick.fid import Fid
from gantrick.metric import _store, features
from gantrick.types import ConfigError, GantrickError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANTRICK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "statistics"


def noise(count: int, low: int = 0, size: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, 256, (count, size, size, 3), dtype=np.uint8)


def folder(path: Path, pictures: np.ndarray) -> Path:
    path.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(path / f"{number:04}.png")
    return path


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    return folder(tmp_path / "a", noise(130)), folder(tmp_path / "b", noise(120, 60, seed=1))


def by_hand(a: np.ndarray, b: np.ndarray) -> float:
    net = features.extractor("digits_cnn")
    x, y = (net(torch.from_numpy(s).permute(0, 3, 1, 2)).double().numpy() for s in (a, b))
    shift = x.mean(0) - y.mean(0)
    x, y = ((s - s.mean(0)) / math.sqrt(len(s) - 1) for s in (x, y))
    return float(shift @ shift + (x * x).sum() + (y * y).sum() - 2 * np.linalg.norm(x @ y.T, "nuc"))


def measure(a: Path, b: Path, **options: Any) -> float:
    return Fid(**({"extractor": "digits_cnn", "device": "cpu"} | options)).compare(a, b).value


def refused(a: Path, b: Path, **options: Any) -> str:
    with pytest.raises(GantrickError) as caught:
        measure(a, b, **options)
    (fault,) = getattr(caught.value, "faults", [str(caught.value)])
    assert "\n" not in fault
    return str(fault)


# --- what it takes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_two_folders(sets: tuple[Path, Path], batch_size: int) -> None:
    expected = by_hand(noise(130), noise(120, 60, seed=1))
    assert measure(*sets, batch_size=batch_size) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["zip", "zip in a folder", "samples", "images", "arr_0", "channels first", "jobs"])
def test_every_kind_of_set_gives_the_same(sets: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    a, b = sets
    other = tmp_path / ("a.zip" if "zip" in kind else "a.npz")
    if "zip" in kind:
        with zipfile.ZipFile(other, "w") as archive:
            for file in a.iterdir():
                archive.write(file, f"a/{file.name}" if "folder" in kind else file.name)
            archive.writestr("__MACOSX/._0001.png", b"")
            archive.writestr("readme.txt", "no picture")
    elif kind == "channels first":
        np.savez_compressed(other, images=noise(130).transpose(0, 3, 1, 2))
    elif kind == "jobs":
        np.savez(other, labels=np.zeros(130), images=noise(130))
    else:
        np.savez(other, **{kind: noise(130)})
    assert measure(other, b, batch_size=50) == pytest.approx(measure(a, b, batch_size=50), rel=1e-12)


def test_grey_arrays_and_grey_pictures(sets: tuple[Path, Path], tmp_path: Path) -> None:
    grey = noise(100)[..., 0]
    np.savez(tmp_path / "grey.npz", arr_0=grey)
    assert measure(tmp_path / "grey.npz", sets[1]) == pytest.approx(
        measure(folder(tmp_path / "grey", grey), sets[1]), rel=1e-5
    )


def test_the_folders_own_images_and_those_below_where_it_has_none(sets: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = sets
    classes = tmp_path / "classes"
    for number, file in enumerate(sorted(a.iterdir())):
        (classes / str(number % 3)).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, classes / str(number % 3) / file.name.upper())
    assert measure(classes, b) == pytest.approx(measure(a, b), rel=1e-6)
    folder(a / "below", noise(3))
    (a / ".hidden.png").write_bytes(b"")
    (a / "notes.txt").write_text("no picture")
    report = Fid("digits_cnn").compare(a, b)
    assert report.protocol["judged_count"] == 130
    assert any("3 images in folders below it are left out" in note for note in report.notes)


def test_files_are_read_as_pytorch_fid_reads_them(tmp_path: Path) -> None:
    from pytorch_fid.fid_score import ImagePathDataset

    from gantrick.metric._images import images

    rgba = np.dstack([noise(1)[0], np.full((12, 12), 7, np.uint8)])
    path = tmp_path / "modes"
    path.mkdir()
    palette = Image.fromarray(noise(1)[0]).quantize(8)
    palette.info["transparency"] = bytes(range(8))
    pictures = {
        "grey.png": Image.fromarray(noise(1)[0, :, :, 0]),
        "two.png": Image.fromarray(noise(1)[0, :, :, 0] > 99),
        "alpha.png": Image.fromarray(rgba),
        "palette.png": palette,
        "colour.jpg": Image.fromarray(noise(1)[0]),
        "cmyk.jpg": Image.fromarray(noise(1)[0]).convert("CMYK"),
    }
    for name, picture in pictures.items():
        picture.save(path / name, **({"transparency": bytes(range(8))} if name == "palette.png" else {}))
    found = images(path)
    ours = torch.cat([part for batch in found.batches(100) for part in batch])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = ImagePathDataset(sorted(path.iterdir()))
        expected = np.stack([np.array(theirs[number]) for number in range(len(pictures))])
    np.testing.assert_array_equal(ours.permute(0, 2, 3, 1).numpy(), expected)
    assert sorted(found.transparent) == ["alpha.png", "palette.png"]


def test_images_of_several_sizes_are_each_resized_on_their_own(sets: tuple[Path, Path], tmp_path: Path) -> None:
    mixed = folder(tmp_path / "mixed", noise(60))
    for number, picture in enumerate(noise(60, 0, 20, seed=5)):
        Image.fromarray(picture).save(mixed / f"{number:04}_large.png")
    net = features.extractor("digits_cnn")
    small, large, other = (
        torch.from_numpy(s).permute(0, 3, 1, 2) for s in (noise(60), noise(60, 0, 20, 5), noise(120, 60, seed=1))
    )
    together = command.moments([net(small), net(large)])
    expected = command.distance(together, command.moments([net(other)]))
    report = Fid("digits_cnn").compare(mixed, sets[1])
    assert report.value == pytest.approx(expected, rel=1e-5)
    assert f"{mixed}: 2 sizes, 12x12 to 20x20; each is resized on its own" in report.notes


# --- statistics ------------------------------------------------------------------------------------------------------


def test_saved_statistics_stand_for_their_images(sets: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = sets
    Fid("digits_cnn").save(a, tmp_path / "a.npz")
    Fid("digits_cnn").save(b, tmp_path / "b.npz")
    expected = measure(a, b)
    assert measure(tmp_path / "a.npz", b) == pytest.approx(expected, rel=1e-9)
    report = Fid().compare(
        tmp_path / "a.npz", tmp_path / "b.npz"
    )  # the files say whose they are; no weights are loaded
    assert report.name == "fid/digits_cnn"
    assert report.value == pytest.approx(expected, rel=1e-9)
    assert report.protocol["judged_count"] == 130
    with np.load(tmp_path / "a.npz") as file:
        feats = features.extractor("digits_cnn")(torch.from_numpy(noise(130)).permute(0, 3, 1, 2)).double().numpy()
        np.testing.assert_allclose(file["mu"], feats.mean(0), rtol=1e-6)
        np.testing.assert_allclose(file["sigma"], np.cov(feats, rowvar=False), rtol=1e-4, atol=1e-7)


def test_pytorch_fid_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    from pytorch_fid.fid_score import calculate_frechet_distance, compute_statistics_of_path

    stream = np.random.default_rng(0)
    for name in ("a", "b"):
        x = stream.normal(size=(5000, 96)) * np.logspace(0, -1, 96) + (name == "b") / 10
        np.savez_compressed(tmp_path / f"{name}.npz", mu=x.mean(0), sigma=np.cov(x, rowvar=False))
    read = [compute_statistics_of_path(str(tmp_path / f"{n}.npz"), None, 1, 96, "cpu") for n in "ab"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = calculate_frechet_distance(*read[0], *read[1])
    report = Fid("digits_cnn").compare(tmp_path / "a.npz", tmp_path / "b.npz")
    assert report.value == pytest.approx(float(expected), rel=1e-9)
    assert sum("do not say of which extractor" in note for note in report.notes) == 2
    assert report.protocol["reference_count"] is None and "rank" not in report.protocol
    out = tmp_path / "ours.npz"
    saved = Fid("digits_cnn").save(folder(tmp_path / "x", noise(200)), out)
    mu, sigma = compute_statistics_of_path(str(out), None, 1, 96, "cpu")
    np.testing.assert_array_equal(mu, saved.moments.mean.numpy())
    np.testing.assert_array_equal(sigma, saved.moments.covariance.numpy())


def test_statistics_of_another_extractor_or_other_weights(sets: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = sets
    Fid("digits_cnn").save(a, tmp_path / "a.npz")
    Fid("mnist_cnn").save(b, tmp_path / "b.npz")
    assert "a.npz of digits_cnn, and --extractor is mnist_cnn" in refused(tmp_path / "a.npz", b, extractor="mnist_cnn")
    assert "b.npz of mnist_cnn; take" in refused(tmp_path / "a.npz", tmp_path / "b.npz", extractor=None)
    np.savez(tmp_path / "wide.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    assert "wide.npz: has 2048 features, and digits_cnn has 96" in refused(tmp_path / "wide.npz", b)
    state = features.extractor("digits_cnn").state_dict()
    state["head.bias"] = state["head.bias"] + 1
    torch.save(state, tmp_path / "other.pt")
    assert "a.npz: its statistics were made with other weights" in refused(
        tmp_path / "a.npz", b, weights=str(tmp_path / "other.pt")
    )
    Fid("digits_cnn", str(tmp_path / "other.pt")).save(b, tmp_path / "c.npz")
    assert "made with other weights" in refused(tmp_path / "a.npz", tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(96), "sigma": np.eye(95)}, "are not a mean and a covariance"),
        ({"mu": np.full(96, np.nan), "sigma": np.eye(96)}, "not finite"),
        ({"mu": np.zeros(96), "sigma": np.eye(96), "count": np.array(1)}, "count is 1, and a covariance needs two"),
        ({"mu": np.zeros(96), "sigma": np.eye(96), "count": np.zeros(3)}, "the statistics cannot be read"),
        ({"mu": np.zeros(96), "sigma": np.full((96, 96), "x")}, "the statistics cannot be read"),
        ({"mu": np.zeros(96), "sigma": np.triu(np.ones((96, 96)))}, "not symmetric"),
        (
            {"features": np.zeros((5, 96))},
            "has neither images (samples, images, arr_0) nor statistics (mu and sigma), but features",
        ),
        ({"images": np.zeros((5, 96))}, "images has points and no images"),
        ({"images": np.zeros((5, 9, 9, 4), np.uint8)}, "store it as uint8 (N, H, W, C)"),
        ({"images": np.zeros((5, 9, 9, 3))}, "store it as uint8 (N, H, W, C)"),
    ],
)
def test_arrays_that_are_no_set(sets: tuple[Path, Path], tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    fault = refused(tmp_path / "x.npz", sets[1])
    assert words in fault and str(tmp_path / "x.npz") in fault


@pytest.mark.parametrize("what", ["statistics", "images", "zip"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_said(sets: tuple[Path, Path], tmp_path: Path, what: str, share: float) -> None:
    path = tmp_path / ("x.zip" if what == "zip" else "x.npz")
    if what == "statistics":
        Fid("digits_cnn").save(sets[0], path)
    elif what == "images":
        np.savez_compressed(path, images=noise(130))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for file in sets[0].iterdir():
                archive.write(file, file.name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert str(path) in refused(path, sets[1])


def test_bytes_that_were_changed_are_said(tmp_path: Path, sets: tuple[Path, Path]) -> None:
    np.savez(tmp_path / "x.npz", images=noise(130))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "x.npz").write_bytes(data)
    assert "cannot be read (Bad CRC-32" in refused(tmp_path / "x.npz", sets[1])


@pytest.mark.parametrize("out", ["there.npz", "stats", "nowhere/x.npz"])
def test_statistics_go_into_a_new_file(sets: tuple[Path, Path], tmp_path: Path, out: str) -> None:
    (tmp_path / "there.npz").write_text("mine")
    with pytest.raises(ConfigError, match=r"name a new \.npz file"):
        Fid("digits_cnn").save(sets[0], tmp_path / out)
    assert (tmp_path / "there.npz").read_text() == "mine"


# --- images that are no good -----------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_named_and_no_figure_is_taken(sets: tuple[Path, Path]) -> None:
    a, b = sets
    data = (a / "0003.png").read_bytes()
    (a / "0003.png").write_bytes(data[: len(data) // 2])
    (a / "0005.png").write_bytes(b"nothing")
    (a / "0006.png").write_bytes(b"")
    fault = refused(a, b)
    assert f"{a}: cannot use 0003.png (" in fault and "0005.png (not a picture), 0006.png (not a picture)" in fault
    for number in range(10, 30):
        (a / f"{number:04}.png").write_bytes(b"")
    assert "and 18 more; mend or remove them" in refused(a, b)


def test_a_jpeg_cut_short_is_named(sets: tuple[Path, Path]) -> None:
    Image.fromarray(noise(1, 0, 64)[0]).save(sets[0] / "x.jpg")
    data = (sets[0] / "x.jpg").read_bytes()
    (sets[0] / "x.jpg").write_bytes(data[: len(data) // 2])
    assert "x.jpg (" in refused(*sets)


def test_more_than_eight_bits_are_refused(sets: tuple[Path, Path]) -> None:
    """Pillow's RGB cuts 16 bits at 255: pytorch-fid's figure of such images is of white ones."""
    values = np.random.default_rng(0).integers(0, 65536, (12, 12)).astype(np.uint16)
    Image.fromarray(values).save(sets[0] / "x.png")
    assert "x.png (has more than 8 bits, Pillow's mode I;16; store it with 8)" in refused(*sets)


@pytest.mark.parametrize(("count", "words"), [(0, "holds no images"), (1, "holds 1 image (")])
@pytest.mark.parametrize("side", [0, 1])
def test_too_few(sets: tuple[Path, Path], tmp_path: Path, count: int, words: str, side: int) -> None:
    pair = list(sets)
    pair[side] = folder(tmp_path / "few", noise(count))
    fault = refused(pair[0], pair[1])
    assert words in fault and "a covariance needs two at least" in fault
    assert not (tmp_path / "cache").exists(), "nothing is measured before both sets are known to be there"


def test_what_is_not_there_or_no_set(sets: tuple[Path, Path], tmp_path: Path) -> None:
    assert "nowhere: does not exist" in refused(tmp_path / "nowhere", sets[1])
    (tmp_path / "text").write_text("text")
    assert "is neither a folder nor a sound .zip or .npz" in refused(tmp_path / "text", sets[1])


@pytest.mark.parametrize(("count", "below"), [(96, True), (97, False), (2, True)])
def test_fewer_images_than_features_are_said(sets: tuple[Path, Path], tmp_path: Path, count: int, below: bool) -> None:
    few = folder(tmp_path / "few", noise(count))
    report = Fid("digits_cnn").compare(few, sets[1])
    assert report.protocol.get("rank") == ("below full" if below else None)
    assert any(note.startswith(f"rank below full: {count} images for 96 features") for note in report.notes) is below
    assert report.value == pytest.approx(by_hand(noise(count), noise(120, 60, seed=1)), rel=1e-5)


def test_features_that_are_not_finite(sets: tuple[Path, Path], tmp_path: Path) -> None:
    state = features.extractor("digits_cnn").state_dict()
    state["body.0.conv.weight"] = state["body.0.conv.weight"] * float("nan")
    torch.save(state, tmp_path / "nan.pt")
    fault = refused(*sets, weights=str(tmp_path / "nan.pt"))
    assert "digits_cnn gives features that are not finite; its weights are damaged" in fault
    assert not list((tmp_path / "cache").rglob("*.npz"))


def test_extractors_and_devices_that_are_not_to_be_had(sets: tuple[Path, Path], tmp_path: Path) -> None:
    assert "--extractor digit: there is none of this name; there are cifar10_cnn" in refused(*sets, extractor="digit")
    assert "--device nonsense: is not to be had here" in refused(*sets, device="nonsense")
    assert "digits_cnn found no weights at" in refused(*sets, weights=str(tmp_path / "no.pt"))
    assert "digits_cnn resizes antialiased bilinear 16x16 and has no resizer clean_fid" in refused(
        *sets, resizer="clean_fid"
    )


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The sets whose images were embedded."""
    seen: list[Path] = []
    real = Fid._features

    def counting(self: Fid, found: Any) -> Any:
        seen.append(found.path)
        return real(self, found)

    monkeypatch.setattr(Fid, "_features", counting)
    return seen


def test_the_reference_is_measured_once_and_the_other_side_always(
    sets: tuple[Path, Path], own_cache: Path, looked_at: list[Path]
) -> None:
    a, b = sets
    first = measure(a, b)
    assert measure(a, b) == first
    assert looked_at == [a, b, a]
    assert len(list(own_cache.glob("*.npz"))) == 1
    moved = a.parent / "moved"
    b.rename(moved)
    assert measure(a, moved) == first
    assert looked_at[3:] == [a], "the folder's own name is no matter"
    assert measure(a, moved, cache=False) == first
    assert looked_at[4:] == [a, moved]


@pytest.mark.parametrize("change", ["written anew", "renamed", "one more", "one less", "weights"])
def test_a_changed_reference_is_measured_anew(
    sets: tuple[Path, Path], looked_at: list[Path], change: str, tmp_path: Path
) -> None:
    a, b = sets
    measure(a, b)
    options = {}
    if change == "written anew":
        state = (b / "0000.png").stat()
        os.utime(b / "0000.png", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    elif change == "renamed":
        (b / "0000.png").rename(b / "9000.png")
    elif change == "one more":
        shutil.copy(b / "0000.png", b / "9000.png")
    elif change == "one less":
        (b / "0000.png").unlink()
    else:
        state = features.extractor("digits_cnn").state_dict()
        torch.save({**state, "head.bias": state["head.bias"] + 1}, tmp_path / "other.pt")
        options["weights"] = str(tmp_path / "other.pt")
    measure(a, b, **options)
    assert looked_at == [a, b, a, b]


def test_notes_come_from_the_cache_too(tmp_path: Path, sets: tuple[Path, Path]) -> None:
    mixed = folder(tmp_path / "mixed", noise(100))
    Image.fromarray(np.dstack([noise(1, 0, 20)[0], np.zeros((20, 20), np.uint8)])).save(mixed / "x.png")
    first, second = (Fid("digits_cnn").compare(sets[0], mixed) for _ in range(2))
    assert first == second
    assert len(first.notes) == 2


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cache_file_cut_short_is_made_anew(sets: tuple[Path, Path], own_cache: Path, share: float) -> None:
    first = measure(*sets)
    (file,) = own_cache.glob("*.npz")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    assert measure(*sets) == first
    assert len(file.read_bytes()) == len(whole)


def test_a_cache_that_cannot_be_written_costs_a_warning(
    sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANTRICK_CACHE", str(tmp_path / "file"))
    told: list[str] = []
    assert measure(*sets, tell=told.append) == measure(*sets, cache=False)
    (sentence,) = told
    assert "cannot be kept (Not a directory)" in sentence and "GANTRICK_CACHE" in sentence


def test_a_full_disk_costs_a_warning(sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_store.np, "savez", full)
    told: list[str] = []
    measure(*sets, tell=told.append)
    assert "cannot be kept (No space left on device)" in told[0]
    assert not list(own_cache.glob("*.npz*")) and not list(own_cache.glob(".*.npz*"))


def test_two_at_once_measure_a_reference_once(
    sets: tuple[Path, Path], looked_at: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(*sets, cache=False)  # what two threads must not import at the same time
    looked_at.clear()
    values: list[float] = []
    threads = [threading.Thread(target=lambda: values.append(measure(*sets))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(values) == 2 and values[0] == values[1]
    assert looked_at.count(sets[1]) == 1


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_the_figure_and_what_made_it(
    sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fid", *map(str, sets), "--extractor", "digits_cnn", "--device", "cpu"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    value = measure(*sets)
    assert out.splitlines()[0] == f"fid/digits_cnn: {value:.10g}"
    net = features.extractor("digits_cnn")
    for line in (
        f"extractor_fingerprint: {net.fingerprint}",
        f"resizer: {net.resizer}",
        "judged_count: 130",
        "reference_count: 120",
    ):
        assert f"  {line}\n" in out
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fid/digits_cnn"] == value
    assert found["protocol"]["reference_count"] == 120 and found["notes"] == []


@pytest.mark.parametrize("order", ["pytorch-fid's", "after"])
def test_the_command_saves_statistics(
    sets: tuple[Path, Path], tmp_path: Path, order: str, capsys: pytest.CaptureFixture[str]
) -> None:
    a, out = str(sets[0]), str(tmp_path / "a.npz")
    words = ["--save-stats", a, out] if order != "after" else [a, "--save-stats", out]
    assert cli.main(["fid", *words, "--extractor", "digits_cnn"]) == 0
    assert "a.npz: 130 images, digits_cnn" in capsys.readouterr().out
    assert cli.main(["fid", out, str(sets[1])]) == 0
    assert capsys.readouterr().out.startswith("fid/digits_cnn: ")


def test_the_command_refuses_in_one_sentence(
    tmp_path: Path, sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fid", str(tmp_path / "no"), str(sets[1]), "--extractor", "digits_cnn"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gantrick fid: error: ") and "does not exist" in line
    assert cli.main(["fid", str(sets[0])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "gantrick fid --help shows how it is called" in line


def test_inception_without_weights_says_what_to_do(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    fault = refused(*sets, extractor=None)
    assert fault.startswith("inception found no weights and could not download them (no network); put pt_inception-")
    assert "--weights PATH" in fault


@pytest.mark.slow
def test_the_commands_of_both_agree(tmp_path: Path) -> None:
    """`python -m pytorch_fid` and `gantrick fid` with the same weights, on folders and on each other's statistics."""
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    weights = tmp_path / "hub/checkpoints/pt_inception-2015-12-05-6726825d.pth"
    torch.save(features.extractor("random_inception").get_submodule("net").state_dict(), weights)
    a, b = folder(tmp_path / "a", noise(6, 0, 64)), folder(tmp_path / "b", noise(5, 90, 64, seed=1))

    def said(*words: object) -> float:
        environment = {**os.environ, "TORCH_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", "-m", *map(str, words), "--device", "cpu"]
        out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
        return float(
            next(line for line in out.splitlines() if "FID: " in line or line.startswith("fid/inception: ")).split(
                ": "
            )[1]
        )

    ours = said("gantrick", "fid", a, b)
    # theirs takes the root of a singular matrix, which is right to 1e-8 of the traces for each of 2048 dimensions
    assert said("pytorch_fid", a, b, "--num-workers", 0) == pytest.approx(ours, rel=1e-3)
    assert cli.main(["fid", "--save-stats", str(b), str(tmp_path / "ours.npz"), "--weights", str(weights)]) == 0
    from pytorch_fid.fid_score import compute_statistics_of_path
    from pytorch_fid.inception import InceptionV3

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path))
        mu, sigma = compute_statistics_of_path(str(b), InceptionV3([3]).eval(), 5, 2048, "cpu", 0)
    np.savez_compressed(tmp_path / "theirs.npz", mu=mu, sigma=sigma)
    for statistics in ("ours.npz", "theirs.npz"):
        assert said("gantrick", "fid", a, tmp_path / statistics) == pytest.approx(ours, rel=1e-5)


def test_asking_for_help_imports_no_torch() -> None:
    code = "import sys; from gantrick.cli import main; main(['fid', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """No more than the batches ahead are decoded before they are asked for."""
    from gantrick.metric._images import AHEAD, images

    found = images(folder(tmp_path / "x", noise(200, size=4)))
    batches = found.batches(10)
    next(batches)
    for _ in range(50):
        threading.Event().wait(0.01)
    assert sum(found.sizes.values()) == 10 and AHEAD == 2
    assert sum(len(part) for batch in batches for part in batch) == 190
