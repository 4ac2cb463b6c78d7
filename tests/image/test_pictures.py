"""One picture of any kind → 8-bit pixels: orientation, transparency, depth, palettes, frames, size."""

import io

import numpy as np
import pytest
from PIL import Image

from seqgen.core.errors import UserError
from seqgen.image.data import pictures
from seqgen.image.data.pictures import Facts, ReadOptions, decode_picture, decode_pictures, scale_images

H, W = 5, 7


def encoded(picture, form="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, format=form, **options)
    return stream.getvalue()


def decode(content, **options):
    """Return the pixels of a picture and the facts."""
    facts = Facts()
    return decode_picture("a", content, ReadOptions(**options), facts), facts.lines()


def grey(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (H, W), np.uint8)


def test_pixels_are_upright_by_each_of_the_eight_orientations():
    upright = grey()
    # How a camera stores it for each value: which side of the scene row 0 and column 0 are (EXIF, 4.6.4).
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.T,  # left, top
        6: upright[:, ::-1].T,  # right, top
        7: upright[::-1, ::-1].T,  # right, bottom
        8: upright[::-1].T,  # left, bottom
    }
    assert np.array_equal(stored[6][0], upright[:, -1])
    assert np.array_equal(stored[8][:, 0], upright[-1])
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        for form in ("PNG", "TIFF"):  # Pillow turns a TIFF itself
            found, facts = decode(encoded(picture, form, exif=exif))
            assert np.array_equal(found[0], upright), (orientation, form)
        found, facts = decode(encoded(picture, exif=exif))
        assert facts == (() if orientation == 1 else ("1 turned upright by their EXIF orientation",))


@pytest.mark.parametrize(("background", "below"), [(None, 255), ("white", 255), ("black", 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_lie_on_the_background(mode, background, below):
    values = np.zeros((H, W, len(mode)), np.uint8)
    values[..., :-1] = 100
    values[0, :, -1], values[1, :, -1], values[2:, :, -1] = 0, 51, 255
    found, facts = decode(encoded(Image.fromarray(values, mode)), background=background)
    assert found.shape == (1, H, W)  # grey, though saved in colour
    assert (found[0, 0] == below).all()
    # 51 of 255 is a fifth: 100 / 5 + 4 / 5 of the background, 224 or 20
    assert (found[0, 1] == (224 if below else 20)).all()
    assert (found[0, 2:] == 100).all()
    assert facts == (f"1 with transparency, laid on {background or 'white'}",)


def test_white_ink_on_nothing_is_said_to_be_invisible():
    values = np.full((H, W, 4), 255, np.uint8)
    values[1:, :, 3] = 0
    found, facts = decode(encoded(Image.fromarray(values)))
    assert (found == 255).all()
    assert facts[1] == "1 of these are nothing but white then, --background black shows more"
    found, facts = decode(encoded(Image.fromarray(values)), background="black")
    assert found[0, :, 0].tolist() == [255, 0, 0, 0, 0]
    assert len(facts) == 1


def test_a_transparent_colour_of_a_palette_lies_on_the_background():
    picture = Image.new("P", (W, H), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.putpixel((3, 2), 0)
    found, _ = decode(encoded(picture, transparency=0))
    assert found[:, 2, 3].tolist() == [255, 255, 255]
    assert found[:, 0, 0].tolist() == [10, 20, 30]


def test_an_opaque_picture_with_an_alpha_channel_says_nothing_of_it():
    values = np.random.default_rng(0).integers(0, 256, (H, W, 4), np.uint8)
    values[..., 3] = 255
    found, facts = decode(encoded(Image.fromarray(values)))
    assert np.array_equal(found, values[..., :3].transpose(2, 0, 1))
    assert facts == ()


def test_sixteen_bits_and_float_are_scaled():
    deep = np.array([[0, 128, 129, 25_700, 65_535]], np.uint16)
    for form in ("PNG", "TIFF"):
        found, facts = decode(encoded(Image.fromarray(deep), form))
        assert found.tolist() == [
            [[0, 0, 1, 100, 255]]
        ]  # 65,535 = 255 · 257; 128 and 129 are about half of 257
        assert facts == ("1 of 16 bits or float, scaled to 8 bits",)
    shares = np.array([[0, 0.25, 0.5, 1]], np.float32)
    assert decode(encoded(Image.fromarray(shares), "TIFF"))[0].tolist() == [[[0, 64, 128, 255]]]
    for bad in (np.nan, 1.5, -0.5):
        shares[0, 0] = bad
        with pytest.raises(
            UserError, match=r"'a' has pixels from .*; they must be from 0 to 1, so scale them"
        ):
            decode(encoded(Image.fromarray(shares), "TIFF"))
    whole = np.array([[0, 70_000]], np.int32)
    with pytest.raises(UserError, match="'a' has pixels from 0 to 70000; they must be from 0 to 65535"):
        decode(encoded(Image.fromarray(whole), "TIFF"))


def test_grey_is_one_channel_however_it_was_saved():
    values = grey()
    for picture in (
        Image.fromarray(values),
        Image.fromarray(values).convert("RGB"),
        Image.fromarray(values).convert("P"),  # a palette of greys
        Image.fromarray(values).convert("RGBA"),
    ):
        found, _ = decode(encoded(picture))
        assert np.array_equal(found, values[None]), picture.mode
    colour = np.stack([values, values, values], axis=-1)
    colour[H - 1, W - 1, 2] ^= 1  # a single pixel with a tinge of blue
    assert decode(encoded(Image.fromarray(colour)))[0].shape == (3, H, W)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animated_picture_the_first_frame_is_read_and_said(form):
    frames = [Image.fromarray(np.full((H, W), value, np.uint8)) for value in (40, 90, 140)]
    options = {"save_all": True, "append_images": frames[1:]} | ({"lossless": True} if form == "WEBP" else {})
    found, facts = decode(encoded(frames[0], form, **options))
    assert (found == 40).all()
    assert facts == ("only the first frame of 1 pictures that have several",)


def test_a_size_crops_the_middle_and_scales_it():
    # 4 × 12 pixels, the middle four columns 200, the rest 0: nothing of the rest is left in a 2 × 2
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    assert decode(encoded(Image.fromarray(wide)), size=2)[0].tolist() == [[[200, 200], [200, 200]]]
    assert decode(encoded(Image.fromarray(wide.T)), size=2)[0].tolist() == [[[200, 200], [200, 200]]]
    assert decode(encoded(Image.fromarray(wide)), size=9)[0].shape == (1, 9, 9)
    square = np.random.default_rng(0).integers(0, 256, (7, 7, 3), np.uint8)
    assert np.array_equal(decode(encoded(Image.fromarray(square)), size=7)[0], square.transpose(2, 0, 1))


def test_scaling_averages_and_does_not_alias():
    # Columns in turn black and white: every second column alone would be all black or all white.
    striped = np.tile(np.array([0, 255], np.uint8), (32, 16))
    scaled = decode(encoded(Image.fromarray(striped)), size=8)[0]
    assert abs(scaled.astype(float)[:, 1:-1, 1:-1] - 127.5).max() < 16


def test_arrays_are_scaled_as_pictures_are():
    colour = np.random.default_rng(0).integers(0, 256, (3, 13, 11, 3), np.uint8)
    expected = [decode(encoded(Image.fromarray(each)), size=5)[0] for each in colour]
    assert np.array_equal(scale_images(colour.transpose(0, 3, 1, 2), 5), expected)
    assert scale_images(colour, None) is colour


def test_pictures_of_several_sizes_are_named_or_scaled():
    sizes = [("a", (13, 7)), ("b", (7, 11))]
    encodings = [(name, encoded(Image.new("L", size, 60))) for name, size in sizes]
    with pytest.raises(
        UserError, match=r"'a' is 13×7 pixels and 'b' 7×11; .* give --size N, as in --size 64"
    ):
        decode_pictures(encodings)
    assert decode_pictures(encodings, ReadOptions(size=5)).shape == (2, 1, 5, 5)


def test_a_large_photograph_is_read_only_to_be_scaled(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 50)
    content = encoded(Image.new("L", (11, 7)))
    with pytest.raises(UserError, match="'a' has more than 50 pixels"):
        decode(content)
    assert decode(content, size=3)[0].shape == (1, 3, 3)
    monkeypatch.setattr(pictures, "MOST_RESIZED", 60)
    with pytest.raises(UserError, match="'a' has more than 60 pixels"):
        decode(content, size=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size 0 is out of range: give 1 to 4,096 pixels"),
        ({"size": 5000}, "size 5000 is out of range"),
        ({"background": "red"}, "no background 'red'; transparent pixels are laid on white or on black"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        ReadOptions(**options)
