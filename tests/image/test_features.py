"""Features: a classifier trained once and cached, components without labels, a network from a file."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seqgen.core import cache
from seqgen.core.errors import UserError
from seqgen.image.data.dataset import ImageData, Images, open_images
from seqgen.image.evaluation import features


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return open_images("digits")


def unlabelled(images: Images) -> Images:
    return Images(images.pixels, torch.full_like(images.labels, -1))


def test_the_classifier_of_digits_is_accurate_and_is_trained_once(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(features, "MAX_EPOCHS", 5)
    messages: list[str] = []
    first = features.classifier(digits, notify=messages.append)
    assert first.accuracy is not None
    assert first.accuracy > 0.9
    assert f"accuracy {first.accuracy:.2%}" in first.name
    images = digits.test.batch(slice(0, 7)).images
    vectors = first.of(images)
    assert vectors.shape == (7, 128)
    again = features.classifier(digits, notify=messages.append)
    assert messages == ["training a classifier of 'digits' for its features, once for these data"]
    torch.testing.assert_close(again.of(images), vectors)
    assert again.accuracy == first.accuracy
    assert (cache.folder() / "image-classifier").is_dir()


def test_other_data_have_another_classifier(digits: ImageData) -> None:
    keys = {
        features._key(digits, 0),
        features._key(digits, 1),
        features._key(open_images("digits", seed=1), 0),
    }
    keys |= {features._key(open_images("digits", binarise=way), 0) for way in ("fixed", "dynamic")}
    assert len(keys) == 5
    assert features._key(open_images("digits"), 0) in keys


def test_training_follows_its_seed_and_leaves_the_random_state_alone(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "MAX_EPOCHS", 1)
    few = ImageData("few", digits.train.rows(torch.arange(130)), digits.valid, digits.test, 10, "")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (features.train(few, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_accuracy_by_hand() -> None:
    # brightness above ½ is class 1: right for the first and the third; the fourth has no label
    def brightness(images: Tensor) -> Tensor:
        level = images.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - level, level - 0.5], dim=1)

    pixels = torch.tensor([0, 255, 255, 0], dtype=torch.uint8)[:, None, None, None].expand(4, 1, 2, 3)
    value = features.accuracy(brightness, Images(pixels, torch.tensor([0, 0, 1, -1])))  # type: ignore[arg-type]
    assert value == pytest.approx(2 / 3)
    assert features.accuracy(brightness, Images(pixels, torch.full((4,), -1))) is None  # type: ignore[arg-type]


def test_images_are_shifted_with_a_black_border() -> None:
    torch.manual_seed(0)
    image = torch.arange(1.0, 29.0).expand(1, 1, 28, 28)
    shifted = {tuple(features._shifted(image)[0, 0, 14].tolist()) for _ in range(60)}
    # by up to 28 // 14 = 2 pixels to either side
    assert len(shifted) == 5
    row = tuple(range(1, 29))
    assert shifted == {(0, 0, *row[:26]), (0, *row[:27]), row, (*row[1:], 0), (*row[2:], 0, 0)}
    # a flat image of 28 × 8 pixels is shifted down alone, and never out of sight
    flat = image.transpose(2, 3)[..., :8] + torch.zeros(1, 1, 28, 8)
    columns = {tuple(features._shifted(flat)[0, 0, :, 3].tolist()) for _ in range(60)}
    assert columns == shifted
    assert torch.equal(
        features._shifted(flat.transpose(2, 3)[..., :8, :8]), flat.transpose(2, 3)[..., :8, :8]
    )
    for _ in range(20):
        assert features._shifted(torch.ones(1, 1, 3, 100)).sum() >= 3 * (100 - 100 // 14)


def test_components_take_the_place_of_labels(digits: ImageData) -> None:
    # With as many components as pixels nothing is lost: distances are those of the pixels.
    data = ImageData("blind", unlabelled(digits.train), digits.valid, unlabelled(digits.test), 0, "")
    (chosen,) = features.choose(data)
    assert chosen.name == "64 principal components of the training images"
    assert chosen.accuracy is None
    images = data.test.batch(slice(0, 7)).images
    torch.testing.assert_close(
        torch.cdist(chosen.of(images), chosen.of(images)),
        torch.cdist(images.flatten(1), images.flatten(1)),
        rtol=1e-3,
        atol=1e-3,
    )


class Sums(nn.Module):
    """Sums of each channel of bytes; with `return_features` also the mean."""

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        sums = images.float().sum(dim=(2, 3))
        if return_features:
            return torch.cat([sums, images.float().mean(dim=(1, 2, 3))[:, None]], dim=1)
        return sums


class Picky(nn.Module):
    """Vectors of images of 8 × 8 pixels alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.float().flatten(1))


class Roots(nn.Module):
    """Vectors that are not numbers where an image is dark."""

    def forward(self, images: Tensor) -> Tensor:
        return (images.float().flatten(1) - 100).sqrt()


class Pairs(nn.Module):
    """Two vectors of each image."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.float().flatten(1), images.float().flatten(1)


class Numbers(nn.Module):
    """One number in all."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().sum()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Picky(), r"net.pt' does not take bytes of shape \(2, 3, 9, 9\) \(.*\); give a network of such"),
        (Roots(), r"net.pt' returns numbers that are not finite; give another network"),
        (Pairs(), r"net.pt' returns tuple for 2 images, not a vector each"),
        (Numbers(), r"net.pt' returns \(\) for 2 images, not a vector each"),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(
    digits: ImageData, tmp_path: Path, network: nn.Module, message: str
) -> None:
    torch.jit.script(network).save(tmp_path / "net.pt")
    with pytest.raises(UserError, match=message) as caught:
        features.choose(digits, tmp_path / "net.pt", trust=True)[0].of(torch.zeros(2, 1, 9, 9))
    assert "\n" not in str(caught.value)


def test_without_labels_of_test_images_no_accuracy_is_claimed(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(features, "MAX_EPOCHS", 1)
    few = digits.train.rows(torch.arange(130))
    data = ImageData("few", few, digits.valid, unlabelled(digits.test), 10, "")
    for _ in range(2):  # trained, and read from the cache
        (chosen,) = features.choose(data)
        assert chosen.accuracy is None
        assert chosen.name.endswith("of a classifier of the data (no test image has a label)")
    one = Images(few.pixels, torch.where(torch.arange(130) == 0, few.labels, -1))
    assert "principal components" in features.choose(ImageData("one", one, one, one, 10, ""))[0].name


class Maps(nn.Module):
    """No vectors: the images as they are."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_network_from_a_file_sees_bytes_of_three_channels(digits: ImageData, tmp_path: Path) -> None:
    torch.jit.script(Sums()).save(tmp_path / "sums.pt")
    (chosen,) = features.choose(digits, tmp_path / "sums.pt", trust=True)
    # 2 × 3 pixels of 1, 0.5 → bytes 255, 128 (half to even): 6 · 255 = 1530 and 6 · 128 = 768 in each channel
    images = torch.tensor([1.0, 0.5])[:, None, None, None].expand(2, 1, 2, 3)
    assert chosen.of(images).tolist() == [[1530, 1530, 1530, 255], [768, 768, 768, 128]]
    assert chosen.name == "vectors of sums.pt"


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_file_that_is_no_network_is_refused(digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file '.*none.pt'; give a TorchScript network"):
        features.choose(digits, tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(UserError, match=r"text.pt' is not a TorchScript network; write one by torch.jit"):
        features.choose(digits, tmp_path / "text.pt", trust=True)
    torch.jit.script(Maps()).save(tmp_path / "maps.pt")
    with pytest.raises(UserError, match=r"maps.pt' returns \(2, 3, 8, 8\) for 2 images, not a vector each"):
        features.choose(digits, tmp_path / "maps.pt", trust=True)[0].of(torch.zeros(2, 1, 8, 8))


class Writing(nn.Module):
    """A network that writes a file while it computes."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, images: Tensor) -> Tensor:
        written = torch.from_file(self.path, shared=True, size=5, dtype=torch.uint8).fill_(33)
        return images.float().flatten(1) + written.sum()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_network_that_writes_files_runs_only_where_it_is_trusted(digits: ImageData, tmp_path: Path) -> None:
    torch.jit.script(Writing(str(tmp_path / "written"))).save(tmp_path / "net.pt")
    with pytest.raises(UserError, match=r"net.pt' is a program.*with --trust"):
        features.choose(digits, tmp_path / "net.pt")
    assert not (tmp_path / "written").exists()
    features.choose(digits, tmp_path / "net.pt", trust=True)[0].of(torch.zeros(2, 1, 8, 8))
    assert (tmp_path / "written").read_bytes() == b"!!!!!"
