"""Every kind of image file is decoded as RGB, or reported as broken."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from calkd_edge.data.pixels import array_from_image, decode_image, image_suffixes, resized
from calkd_edge.data.source import BrokenImage


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels_of(content):
    image = decode_image(content, "x")
    assert image.mode == "RGB"
    return array_from_image(image)


def test_rgb_is_unchanged():
    values = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    assert (pixels_of(encoded(Image.fromarray(values))) == values.transpose(2, 0, 1)).all()


def test_grey_is_repeated():
    values = np.arange(35, dtype=np.uint8).reshape(7, 5)
    assert (pixels_of(encoded(Image.fromarray(values))) == values).all()


def test_sixteen_bit_grey_keeps_its_range():
    values = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    assert pixels_of(encoded(Image.fromarray(values)))[0].tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize("highest", [1023, 4095])
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_bits_that_are_not_stretched_are_refused(highest, kind):
    """10 and 12 bits in 16-bit files would become nearly black images."""
    values = np.linspace(0, highest, 64, dtype=np.uint16).reshape(8, 8)
    content = encoded(Image.fromarray(values)) if kind == "grey" else sixteen_bit_colour(values)
    with pytest.raises(BrokenImage, match="stored without stretching"):
        decode_image(content, "a.png")


def test_dark_and_black_images_are_read():
    assert pixels_of(sixteen_bit_colour(np.full((4, 4), 20 * 257, np.uint16))).max() == 20
    assert pixels_of(encoded(Image.fromarray(np.zeros((4, 4), np.uint16)))).max() == 0
    assert pixels_of(encoded(Image.fromarray(np.full((4, 4, 3), 3, np.uint8)))).max() == 3


def sixteen_bit_colour(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads and cannot write."""
    rows = np.repeat(values[..., None], 3, axis=2).astype(">u2")
    height, width = values.shape

    def chunk(name: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + crc

    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_transparency_is_white():
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    clear.putpixel((0, 0), (10, 20, 30, 255))
    seen = pixels_of(encoded(clear))
    assert seen[:, 0, 0].tolist() == [10, 20, 30]
    assert seen[:, 1, 1].tolist() == [255, 255, 255]


def test_a_transparent_colour_of_a_palette_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 200, 100, 50])
    image.putpixel((1, 0), 1)
    seen = pixels_of(encoded(image, "PNG", transparency=0))
    assert seen[:, 0, 0].tolist() == [255, 255, 255]
    assert seen[:, 0, 1].tolist() == [200, 100, 50]


def test_cmyk_becomes_its_printed_colour():
    seen = pixels_of(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(seen[:, 4, 4].astype(int) - [255, 0, 0]).max() < 6


def test_an_exif_rotation_is_applied():
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: rows and columns change places
    assert pixels_of(encoded(image, "JPEG", exif=exif)).shape == (3, 6, 4)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_usual_formats_are_read(kind):
    assert pixels_of(encoded(Image.new("RGB", (9, 8), (200, 30, 60)), kind)).shape == (3, 8, 9)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_a_truncated_file_is_broken(kind):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    with pytest.raises(BrokenImage, match="cats/1"):
        decode_image(content[: len(content) // 2], "cats/1")


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_file_that_is_not_an_image_is_broken(content, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(BrokenImage) as broken:
            decode_image(source, "cats/1.png")
        assert broken.value.name == "cats/1.png"
        assert str(tmp_path) not in broken.value.reason


def test_float_grey_has_no_agreed_range():
    with pytest.raises(BrokenImage, match="no agreed range"):
        decode_image(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "x.tif")


def test_a_file_that_is_missing_is_broken(tmp_path):
    with pytest.raises(BrokenImage, match="No such file"):
        decode_image(tmp_path / "gone.png", "gone.png")


def test_postscript_is_never_taken_for_an_image():
    assert {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif"} <= image_suffixes()
    assert not {".eps", ".ps", ".pdf", ".txt", ".py"} & image_suffixes()
    with pytest.raises(BrokenImage):
        decode_image(encoded(Image.new("RGB", (4, 4)), "EPS"), "x.png")


def banded(width, height):
    """Red, green, blue thirds along the longer side."""
    values = np.zeros((height, width, 3), np.uint8)
    axis = np.arange(max(width, height)) * 3 // max(width, height)
    values[:] = (
        (np.eye(3, dtype=np.uint8) * 255)[axis][None] if width > height else (np.eye(3) * 255)[axis][:, None]
    )
    return Image.fromarray(values)


@pytest.mark.parametrize(("width", "height"), [(90, 30), (30, 90)])
def test_crop_keeps_the_middle_and_pad_keeps_everything(width, height):
    image = banded(width, height)
    crop, pad, stretch = (
        array_from_image(resized(image, (30, 30), how)) for how in ("crop", "pad", "stretch")
    )
    assert crop.shape == pad.shape == stretch.shape == (3, 30, 30)
    assert crop.mean(axis=(1, 2)).round().tolist() == [0, 255, 0]
    assert (pad.sum(axis=0) > 0).mean() == pytest.approx(1 / 3, abs=0.02)
    assert np.ptp(stretch.mean(axis=(1, 2))) < 12


def test_center_crop_is_what_resizing_to_256_and_cutting_to_224_keeps():
    pixels = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    image = Image.fromarray(np.kron(pixels, np.ones((8, 8, 1), np.uint8)))  # 768 x 512
    usual = image.resize((384, 256), Image.Resampling.BILINEAR).crop((80, 16, 304, 240))
    ours = resized(image, 224, "center_crop")
    difference = np.abs(np.asarray(ours, float) - np.asarray(usual, float))
    assert difference.mean() < 1.5


@pytest.mark.parametrize(
    ("size", "at_least", "decoded"),
    [
        ((640, 400), 100, (160, 100)),
        ((640, 400), 50, (80, 50)),
        ((640, 400), 201, (640, 400)),
        ((7, 5), 1, (2, 2)),
    ],
)
def test_a_jpeg_is_decoded_at_the_smallest_size_that_is_large_enough(size, at_least, decoded):
    content = encoded(banded(*size).resize(size), "JPEG", quality=95)
    assert decode_image(content, "x").size == size
    assert decode_image(content, "x", at_least=at_least).size == decoded


def test_a_reduced_jpeg_is_upright_and_resembles_the_complete_one():
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    exif = photo.getexif()
    exif[0x0112] = 6
    content = encoded(photo, "JPEG", exif=exif, quality=90)
    reduced = decode_image(content, "x", at_least=64)
    assert reduced.size == (120, 160)
    one, other = (
        array_from_image(resized(image, 32, "crop")) for image in (reduced, decode_image(content, "x"))
    )
    assert 0 < np.abs(one.astype(int) - other).mean() < 2


def test_only_jpeg_files_are_reduced_and_a_truncated_one_stays_broken():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8))
    for kind in ("PNG", "WEBP", "BMP"):
        assert decode_image(encoded(noise, kind), "x", at_least=8).size == (80, 80)
    content = encoded(noise, "JPEG")
    with pytest.raises(BrokenImage, match="cats/1"):
        decode_image(content[: len(content) // 2], "cats/1", at_least=8)
