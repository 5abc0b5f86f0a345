from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import urllib.error
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gantrick.metric import features
from gantrick.metric.features import Extractor, MissingWeights, extractor, names
from gantrick.metric.features.base import to_channels

ROOT = Path(__file__).parents[2]
SHIPPED = ("cifar10_cnn", "digits_cnn", "mnist_cnn")


def pictures(count: int, channels: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The training script: it knows the held-out splits."""
    spec = importlib.util.spec_from_file_location("train_extractors", ROOT / "scripts" / "train_extractors.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def random_inception() -> Extractor:
    return extractor("random_inception")


@pytest.fixture(scope="module")
def inception_file(random_inception: Extractor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(random_inception.get_submodule("net").state_dict(), path)
    return path


def held_out(script: ModuleType, name: str) -> tuple[Tensor, Tensor]:
    """The test images and labels of an extractor's data set; skips where they are not on this machine."""
    folder = Path(os.environ.get("GANTRICK_DATA", "~/.cache/gantrick-data")).expanduser()
    try:
        _, test = {
            "digits_cnn": script.digits,
            "mnist_cnn": lambda: script.mnist(folder),
            "cifar10_cnn": lambda: script.cifar10(folder),
        }[name]()
    except FileNotFoundError:
        pytest.skip(f"the real test images of {name} are not in {folder}; set GANTRICK_DATA to their folder")
    images, labels = test
    return images, labels


def share_right(name: str, images: Tensor, labels: Tensor) -> float:
    net = extractor(name)
    right = [net.logits(x).argmax(1) == y for x, y in zip(images.split(250), labels.split(250), strict=True)]
    return float(torch.cat(right).float().mean())


def test_names_are_the_files() -> None:
    of_others = ("convnext_tiny", "dinov2", "inception", "random_inception", "resnet50", "swav")
    assert names() == tuple(sorted(SHIPPED + of_others))
    assert features.shipped() == SHIPPED


def test_a_new_file_is_an_extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "another.py").write_text("from gantrick.metric.features.digits_cnn import build\n")
    monkeypatch.setattr(features, "__path__", [*features.__path__, str(tmp_path)])
    assert "another" in names()
    assert extractor("another").dim == 96


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'nothing'.*cifar10_cnn, convnext_tiny, digits_cnn"):
        extractor("nothing")


@pytest.mark.parametrize("size", [8, 16, 32])
def test_digits_accuracy_on_the_held_out_fifth(script: ModuleType, size: int) -> None:
    images, labels = held_out(script, "digits_cnn")
    assert len(labels) == 360
    reached = share_right("digits_cnn", script.at_size(images, size), labels)
    assert reached >= 0.98
    assert reached == pytest.approx(extractor("digits_cnn").accuracy, abs=0.004)


@pytest.mark.parametrize(("name", "least", "count"), [("mnist_cnn", 0.985, 3000), ("cifar10_cnn", 0.83, 1500)])
def test_accuracy_on_real_test_images(script: ModuleType, name: str, least: float, count: int) -> None:
    images, labels = held_out(script, name)
    reached = share_right(name, images[:count], labels[:count])
    assert reached >= least
    # the attribute is measured on the whole test set; a part of it may differ by about three standard errors
    accuracy = extractor(name).accuracy
    assert isinstance(accuracy, float)
    assert reached == pytest.approx(accuracy, abs=3 * (accuracy * (1 - accuracy) / count) ** 0.5 + 0.002)


def test_mnist_at_32_pixels(script: ModuleType) -> None:
    images, labels = held_out(script, "mnist_cnn")
    assert share_right("mnist_cnn", script.at_size(images[:1000], 32), labels[:1000]) >= 0.98


@pytest.mark.parametrize("name", SHIPPED)
def test_features_of_real_images_are_spread(script: ModuleType, name: str) -> None:
    """A Frechet distance needs features that move: none is constant, and none outweighs all others."""
    images, _ = held_out(script, name)
    variance = extractor(name)(images[:500]).var(dim=0)
    assert (variance > 1e-5).all()
    assert variance.max() < 0.1 * variance.sum()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_small_and_hold_tensors_only(name: str) -> None:
    path = ROOT / "gantrick" / "metric" / "features" / "weights" / f"{name}.pt"
    assert path.stat().st_size <= 2 * 2**20
    state = torch.load(path, weights_only=True)
    assert all(isinstance(value, Tensor) for value in state.values())
    assert all(value.dtype == torch.float32 for value in extractor(name).parameters())


@pytest.mark.parametrize("name", SHIPPED)
def test_fingerprint_is_stable_and_follows_the_weights(name: str) -> None:
    net = extractor(name)
    before = net.fingerprint
    assert len(before) == 12
    assert int(before, 16) >= 0
    assert extractor(name).fingerprint == before
    with torch.no_grad():
        next(net.parameters()).view(-1)[0] += 1e-3
    assert net.fingerprint != before


def test_fingerprint_is_the_hash_it_says() -> None:
    import hashlib

    net = extractor("digits_cnn")
    raw = b"".join(key.encode() + value.numpy().tobytes() for key, value in sorted(net.state_dict().items()))
    assert net.fingerprint == hashlib.sha256(raw).hexdigest()[:12]


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 48)])
def test_any_size_and_both_channel_counts(name: str, channels: int, height: int, width: int) -> None:
    net = extractor(name)
    images = pictures(3, channels, max(height, width))[..., :height, :width]
    found = net(images)
    assert found.shape == (3, net.dim)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert not net.training
    assert found.isfinite().all()
    assert net.logits(images).shape == (3, 10)


@pytest.mark.parametrize("name", SHIPPED)
def test_grey_equals_grey_as_rgb(name: str) -> None:
    net = extractor(name)
    grey = pictures(5, 1, 32)
    torch.testing.assert_close(net(grey), net(grey.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
def test_batch_size_does_not_matter(name: str) -> None:
    net = extractor(name)
    images = pictures(64, net.channels, net.size)  # type: ignore[arg-type]
    one_by_one = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(one_by_one, net(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
def test_autocast_and_train_change_nothing(name: str) -> None:
    net = extractor(name)
    images = pictures(4, 3, 32)
    before = net(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net(images), before)
    assert torch.equal(net.train()(images), before)


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(2, 3, 8, 8),
        torch.zeros(2, 4, 8, 8, dtype=torch.uint8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
    ],
)
def test_other_than_uint8_images_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="digits_cnn takes uint8 images"):
        extractor("digits_cnn")(images)


def test_random_inception_is_seeded_and_leaves_the_random_stream_alone(random_inception: Extractor) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    extractor("digits_cnn")
    assert extractor("random_inception").fingerprint == random_inception.fingerprint
    assert torch.equal(torch.rand(3), expected)


def test_luma_of_repeated_grey_is_the_grey() -> None:
    grey = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(to_channels(to_channels(grey, 3), 1), grey)


def test_other_weights_can_be_given(tmp_path: Path) -> None:
    state = dict(extractor("digits_cnn").state_dict())
    state["head.bias"] = state["head.bias"] + 1
    torch.save(state, tmp_path / "mine.pt")
    assert extractor("digits_cnn", str(tmp_path / "mine.pt")).fingerprint != extractor("digits_cnn").fingerprint


@pytest.mark.parametrize("name", ["digits_cnn", "inception"])
def test_a_missing_weights_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=f"{name} found no weights at .*nowhere.pt; "):
        extractor(name, str(tmp_path / "nowhere.pt"))


def test_a_foreign_weights_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "foreign.pt")
    (tmp_path / "text.pt").write_text("no weights")
    for file in ("foreign.pt", "text.pt"):
        with pytest.raises(ValueError, match=f"digits_cnn cannot use .*{file} as its weights"):
            extractor("digits_cnn", str(tmp_path / file))


def test_small_extractors_do_not_import_torchvision() -> None:
    code = (
        "import sys; from gantrick.metric.features import extractor, names; names(); "
        "extractor('digits_cnn'); sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_inception_shapes_and_weights_file(random_inception: Extractor, inception_file: Path) -> None:
    net = extractor("inception", str(inception_file))
    images = pictures(2, 1, 32)
    found = net(images)
    assert found.shape == (2, 2048) == (2, net.dim)
    assert found.dtype == torch.float32
    assert net.logits(images[:1]).shape == (1, 1008)
    assert net.fingerprint == random_inception.fingerprint
    assert net.name == "inception"
    assert random_inception.name == "random_inception"


def test_inception_equals_pytorch_fids(
    random_inception: Extractor, inception_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pytorch_fid.inception as theirs

    state = torch.load(inception_file, weights_only=True)
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *args, **kwargs: state)
    images = pictures(2, 3, 40)
    expected = theirs.InceptionV3([3]).eval()(images.float() / 255)[0].flatten(1)
    torch.testing.assert_close(random_inception(images), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_random_inception_takes_no_weights() -> None:
    with pytest.raises(ValueError, match="takes no weights"):
        extractor("random_inception", "some.pth")


def test_inception_takes_the_copy_in_torch_home(
    inception_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth").symlink_to(inception_file)
    assert extractor("inception").dim == 2048


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("no route"), TimeoutError("timed out"), RuntimeError("invalid hash value")],
)
def test_inception_offline_says_what_to_do(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(MissingWeights) as caught:
        extractor("inception")
    message = str(caught.value)
    assert "inception found no weights" in message
    assert "pt_inception-2015-12-05-6726825d.pth" in message
    assert str(tmp_path / "checkpoints") in message
    assert "metric.fid.weights=PATH" in message
    assert "\n" not in message


# --- as they run ------------------------------------------------------------------------------------------------------


def test_folding_moves_features_by_rounding_alone(random_inception: Extractor) -> None:
    """Against the unfolded network with batch normalisations that are not at their start, in float64 and float32."""
    net = importlib.import_module("gantrick.metric.features.random_inception").build(None)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            with torch.no_grad():
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 3.0)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    net.eval()
    images = pictures(2, 3, 48)
    with torch.no_grad():
        plain = net.embed(net.prepare(images))
        net.freeze()
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.quick(net.net).modules())
        assert any(isinstance(module, torch.nn.BatchNorm2d) for module in net.net.modules()), (
            "the weights are left alone"
        )
        folded = net(images)
    assert float((folded - plain).norm() / plain.norm()) < 2e-6
    assert net.quick(net.net) is net.quick(net.net)
    before = net.fingerprint
    with torch.no_grad():
        net.net.get_submodule("Conv2d_1a_3x3.conv").weight.mul_(1.5)
    assert net.fingerprint != before
    assert not torch.equal(net(images), folded), "what is folded follows the weights"


def test_the_fingerprint_is_computed_once(random_inception: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    first = random_inception.fingerprint
    monkeypatch.setattr(type(random_inception), "state_dict", None)
    assert random_inception.fingerprint == first


@pytest.mark.parametrize("name", SHIPPED)
def test_several_sizes_at_once_are_those_after_one_another(name: str) -> None:
    net = extractor(name)
    parts = [pictures(2, 3, 20), pictures(3, 1, 33)]
    torch.testing.assert_close(net(parts), torch.cat([net(part) for part in parts]), rtol=1e-5, atol=1e-5)


def test_tf32_is_off_while_features_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = extractor("digits_cnn")
    seen: list[str] = []
    real = net.embed

    def looking(inputs: Tensor) -> Tensor:
        seen.extend((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision))
        return real(inputs)

    monkeypatch.setattr(net, "embed", looking)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        net(pictures(2, 1, 8))
        assert seen == ["ieee", "ieee"]
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)


# --- clean-fid's resizer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 299, 400])
def test_clean_fids_resizer_is_pillows_filter_in_float(inception_file: Path, size: int) -> None:
    """As clean-fid's code has it: a channel at a time in Pillow's mode F, cut to 0 … 255, then (x − 128) / 128."""
    net = extractor("inception", str(inception_file), resizer="clean_fid")
    images = pictures(1, 3, size)
    channels = [Image.fromarray(channel.numpy().astype(np.float32)) for channel in images[0]]
    resized = [np.asarray(c.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255) for c in channels]
    expected = (np.stack(resized) - 128) / 128
    np.testing.assert_allclose((2 * net.prepare(images)[0] - 1).numpy(), expected, atol=1e-4)
    assert net.resizer == "antialiased bicubic 299x299, x/128 - 1"


def test_resizers_are_chosen_by_name(inception_file: Path) -> None:
    plain, same = (extractor("inception", str(inception_file), resizer=name) for name in (None, "pytorch_fid"))
    assert plain.resizer == same.resizer == "bilinear 299x299"
    with pytest.raises(ValueError, match=r"has no resizer lanczos; choose pytorch_fid or clean_fid"):
        extractor("inception", str(inception_file), resizer="lanczos")
    with pytest.raises(ValueError, match=r"digits_cnn resizes .* has no resizer clean_fid; leave the resizer unset"):
        extractor("digits_cnn", resizer="clean_fid")


# --- the networks of ImageNet ---------------------------------------------------------------------------------------


def shaken(net: torch.nn.Module) -> torch.nn.Module:
    """Batch normalisations as after training."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            with torch.no_grad():
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2.0)
    return net.eval()


def by_torchvision(net: torch.nn.Module, images: Tensor) -> Tensor:
    """Logits by torchvision's own preset."""
    preset = importlib.import_module("torchvision.transforms._presets").ImageClassification(
        crop_size=224, resize_size=224
    )
    with torch.no_grad():
        logits: Tensor = net(torch.stack([preset(image) for image in images]))
    return logits


def test_imagenets_networks_are_given_what_pillows_filter_gives(tmp_path: Path) -> None:
    net = importlib.import_module("gantrick.metric.features.imagenet").ImageNet(torch.nn.Identity())
    (image,) = pictures(1, 3, 300)
    resized = [
        np.asarray(Image.fromarray(channel.numpy().astype(np.float32)).resize((224, 224), Image.Resampling.BICUBIC))
        for channel in image
    ]
    np.testing.assert_allclose(net.prepare(image[None])[0], np.stack(resized) / 255, atol=2e-5)  # float32 filters


@pytest.mark.parametrize("name", ["resnet50", "convnext_tiny"])
def test_torchvisions_networks_give_their_own_logits(name: str, tmp_path: Path) -> None:
    net = shaken(importlib.import_module("torchvision.models").get_model(name))
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    ours = extractor(name, str(tmp_path / "weights.pth"))
    images = pictures(2, 3, 224)
    expected = by_torchvision(net, images)
    assert float((ours.logits(images) - expected).norm() / expected.norm()) < 1e-5
    assert ours(images).shape == (2, ours.dim)
    with pytest.raises(ValueError, match="give a state dict of its network"):
        extractor("swav" if name == "convnext_tiny" else "convnext_tiny", str(tmp_path / "weights.pth"))


def test_swav_reads_the_published_files_names(tmp_path: Path) -> None:
    net = shaken(importlib.import_module("torchvision.models").resnet50())
    state = {f"module.{name}": value for name, value in net.state_dict().items() if not name.startswith("fc.")}
    state |= {"module.prototypes.weight": torch.zeros(3, 3), "module.projection_head.0.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "swav.pth.tar")
    swav = extractor("swav", str(tmp_path / "swav.pth.tar"))
    torch.save(net.state_dict(), tmp_path / "resnet50.pth")
    same = extractor("resnet50", str(tmp_path / "resnet50.pth"))
    assert torch.equal(swav(pictures(1, 3, 32)), same(pictures(1, 3, 32)))
    with pytest.raises(ValueError, match="swav has no classifier; choose an extractor that has one"):
        swav.logits(pictures(1, 3, 32))


class TinyViT(torch.nn.Module):
    """What torch.hub would give, but small."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Conv2d(3, 1024, 14, 14)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x).mean((2, 3))


def test_dinov2_takes_its_code_from_torch_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        torch.hub, "load", lambda *args, **kwargs: asked.append((*args, kwargs["pretrained"])) or TinyViT()
    )
    torch.save(TinyViT().state_dict(), tmp_path / "vit.pth")
    net = extractor("dinov2", str(tmp_path / "vit.pth"))
    assert asked == [("facebookresearch/dinov2:main", "dinov2_vitl14", False)]
    assert net(pictures(2, 1, 20)).shape == (2, net.dim) == (2, 1024)


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), RuntimeError("no code")])
def test_dinov2_without_its_code_says_what_to_do(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "load", refuse)
    (tmp_path / "vit.pth").write_bytes(b"")
    with pytest.raises(
        MissingWeights, match=r"dinov2 could not get its network's code \(.*\); unpack https://github.com/"
    ):
        extractor("dinov2", str(tmp_path / "vit.pth"))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet50", "resnet50-0676ba61.pth"),
        ("convnext_tiny", "convnext_tiny-983f1562.pth"),
        ("swav", "swav_800ep_pretrain.pth.tar"),
        ("dinov2", "dinov2_vitl14_pretrain.pth"),
    ],
)
def test_weights_that_cannot_be_had_are_named(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(
        MissingWeights, match=rf"{name} found no weights and could not download them .*{re.escape(file)} from https://"
    ):
        extractor(name)
