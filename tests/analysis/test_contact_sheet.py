"""Contact sheet: the pixels of the shards beside the right names, legible at any number."""

import dataclasses
import hashlib
import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from analysis.contact_sheet import draw_contact_sheet, plot_contact_sheet
from analysis.style import figures
from pipeline.cli import UserError
from pipeline.dataset import manifests, records
from tests.support.analysis_data import bitmaps_in_shards, run_command, write_dataset

COUNTS = {"cat": 9, "The Great Wall of China": 7, "car": 2}


def strips(figure):
    """[left, top, right, bottom] of each image, in pixels from the upper left corner."""
    return [
        [round(float(x)) for x in np.array(image.get_extent())[[0, 3, 1, 2]]]
        for image in figure.axes[0].images
    ]


def names(figure):
    return [text.get_text() for text in figure.axes[0].texts[1:]]  # the first is the title


def test_the_picture_holds_the_pixels_of_the_shards(tmp_path):
    manifest = write_dataset(tmp_path, COUNTS)
    figure = plot_contact_sheet(str(tmp_path), ["train"], [], per_category=4)
    assert names(figure) == ["cat", "The Great", "Wall of", "China", "car"]
    pixels = np.array(Image.open(io.BytesIO(figures.render(figure, "png"))).convert("L"))
    for label, (left, top, right, bottom) in zip(COUNTS, strips(figure), strict=True):
        expected = bitmaps_in_shards(tmp_path, manifest, label)[:4]
        assert right - left == 96 * len(expected) - 11
        assert bottom - top == 85
        for i, bitmap in enumerate(expected):
            shown = pixels[top:bottom, left + 96 * i : left + 96 * i + 85]
            np.testing.assert_array_equal(shown, np.where(bitmap, 20, 255))


def test_each_name_stands_beside_its_drawings(tmp_path):
    write_dataset(tmp_path, COUNTS)
    figure = plot_contact_sheet(str(tmp_path), ["train"], ["car", "cat"], per_category=4)
    FigureCanvasAgg(figure).draw()
    assert names(figure) == ["car", "cat"]
    for text, (left, top, _, bottom) in zip(figure.axes[0].texts[1:], strips(figure), strict=True):
        box = text.get_window_extent()
        assert 0 < left - box.x1 < 30
        assert figure.bbox.y1 - box.y1 >= top
        assert figure.bbox.y1 - box.y0 <= bottom


ALL_SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize(
    ("count", "splits"),
    [(count, ALL_SPLITS[:1]) for count in (1, 2, 12, 53, 345)]
    + [(1, ALL_SPLITS), (53, ALL_SPLITS)],
)
def test_names_overlap_neither_each_other_nor_the_drawings(count, splits):
    words = (
        "The Great Wall of China",
        "ant",
        "aircraft carrier",
        "rollerskates",
        "hot air balloon",
    )
    labels = [f"{words[i % len(words)]} {i}" for i in range(count)]
    images = dict.fromkeys(labels, np.ones((2, 85, 85), np.uint8))
    figure = draw_contact_sheet(dict.fromkeys(splits, images), "a title")
    FigureCanvasAgg(figure).draw()
    height = figure.bbox.y1
    boxes = [text.get_window_extent().extents for text in figure.axes[0].texts]
    boxes += [(x0, height - y1, x1, height - y0) for x0, y0, x1, y1 in strips(figure)]
    low, high = np.array(boxes)[:, :2], np.array(boxes)[:, 2:]
    assert (low > 0).all()
    assert (high < figure.bbox.max).all()
    overlaps = (low[:, None] < high[None]).all(axis=2) & (low[None] < high[:, None]).all(axis=2)
    assert overlaps.sum() == len(boxes)  # each with itself


def test_a_sheet_of_many_categories_is_no_ribbon():
    for count in (12, 53, 345):
        images = np.zeros((8, 85, 85), np.uint8)
        drawings = {"train": {f"name {i}": images for i in range(count)}}
        figure = draw_contact_sheet(drawings, "a title")
        width, height = figure.get_size_inches()
        assert 0.6 < width / height < 2


def test_a_category_of_few_drawings_shows_what_it_has(tmp_path):
    write_dataset(tmp_path, {"cat": 9, "ant": 0, "car": 2})
    figure = plot_contact_sheet(str(tmp_path), ["train"], [], per_category=4)
    assert names(figure) == ["cat", "ant", "car"]
    assert [(right - left + 11) / 96 for left, _, right, _ in strips(figure)] == [4, 2]
    title = figure.axes[0].texts[0].get_text()
    assert title == "4 of the 0 to 9 training drawings of each of 3 categories"


def test_categories_without_any_drawing_are_named_all_the_same():
    empty = np.zeros((0, 85, 85), np.uint8)
    figure = draw_contact_sheet({"train": {"cat": empty, "ant": empty}}, "a title")
    assert names(figure) == ["cat", "ant"]
    assert not figure.axes[0].images


def test_reading_stops_when_there_are_enough(tmp_path):
    manifest = write_dataset(tmp_path, {"cat": 30, "car": 30}, shards=3)
    (tmp_path / manifest.splits["train"].shards[2].file).unlink()
    plot_contact_sheet(str(tmp_path), ["train"], [], per_category=3)
    with pytest.raises(UserError, match="00002-of-00003: No such file"):
        plot_contact_sheet(str(tmp_path), ["train"], [], per_category=30)


def test_pixels_stay_sharp_in_svg(tmp_path):
    write_dataset(tmp_path, COUNTS)
    figure = plot_contact_sheet(str(tmp_path), ["train"], [], per_category=2)
    assert figures.render(figure, "svg").count(b"image-rendering:pixelated") == len(COUNTS)


@pytest.mark.parametrize(
    ("split", "categories", "message"),
    [
        ("train", ["cats"], "has no category 'cats'; did you mean 'cat'?"),
        ("train", ["zebra"], "has no category 'zebra'; labels.txt lists them"),
        ("test", [], "no drawings in the test split"),
        ("tests", [], "--split: 'tests' is not one of train, validation, test"),
    ],
)
def test_what_is_not_there_cannot_be_shown(tmp_path, split, categories, message):
    write_dataset(tmp_path, COUNTS)
    with pytest.raises(UserError) as error:
        plot_contact_sheet(str(tmp_path), [split], categories, per_category=2)
    assert message in str(error.value)


def test_the_command_writes_the_picture(tmp_path):
    write_dataset(tmp_path / "data", COUNTS)
    output = tmp_path / "sheet.png"
    flags = (f"--dataset={tmp_path / 'data'}", f"--output={output}", "--split=validation")
    result = run_command(
        "analysis.contact_sheet", *flags, "--categories=The Great Wall of China,cat"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, f"wrote {output}\n", "")
    assert output.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--output=x.png",), "one data set directory is needed"),
        (("--dataset=nowhere", "--output=x.png"), "nowhere: no such directory"),
        (("--dataset=nowhere", "--output=x.gif"), "x.gif: the name must end in .png, .svg,"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(flags, message):
    result = run_command("analysis.contact_sheet", *flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_images_of_different_numbers_keep_their_order():
    images = np.arange(4, dtype=np.uint8)[:, None, None] % 2 * np.ones((4, 85, 85), np.uint8)
    figure = draw_contact_sheet({"train": {"a": images, "b": images[:1]}}, "a title")
    first, second = (np.asarray(image.get_array()) for image in figure.axes[0].images)
    assert [int(first[0, 96 * i]) for i in range(4)] == [255, 20, 255, 20]
    assert second.shape == (85, 85)
    assert (first[:, 85:96] == 255).all()  # a gap


def test_splits_stand_below_each_other_each_with_its_name(tmp_path):
    write_dataset(tmp_path, COUNTS)
    figure = plot_contact_sheet(str(tmp_path), ["train", "validation"], [], per_category=3)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0] == (
        "3 of the 2 to 9 training and 1 of the 1 validation drawings of each of 3 categories"
    )
    assert texts[1:4] == ["cat", "training", "validation"]
    heights = [top for _, top, _, _ in strips(figure)[:2]]
    FigureCanvasAgg(figure).draw()
    boxes = [figure.axes[0].texts[i].get_window_extent() for i in (2, 3)]
    middles = [figure.bbox.y1 - (box.y0 + box.y1) / 2 for box in boxes]
    for middle, height in zip(middles, heights, strict=True):
        assert abs(middle - height - 42.5) < 4
    assert heights[1] - heights[0] == 96


@pytest.mark.parametrize("count", [21, 150, 1000])
def test_many_drawings_of_a_category_take_several_lines(count):
    images = np.zeros((count, 85, 85), np.uint8)
    images[:, 0, 0] = np.arange(count) % 2
    figure = draw_contact_sheet({"train": {"cat": images}}, "a title")
    (image,) = figure.axes[0].images
    corners = np.asarray(image.get_array())[::96, ::96]
    assert len(corners) > 1
    assert corners.ravel()[:count].tolist() == np.where(np.arange(count) % 2, 20, 255).tolist()
    assert (corners.ravel()[count:] == 255).all()
    width, height = figure.get_size_inches()
    assert 0.7 < width / height < 5


def test_more_drawings_than_a_picture_holds_are_refused_before_reading(tmp_path):
    write_dataset(tmp_path, {"cat": 5000, "ant": 5000}, shards=1)
    for shard in tmp_path.glob("*.tfrecord-*"):
        shard.unlink()
    with pytest.raises(UserError, match="more than 8,000 drawings for one picture"):
        plot_contact_sheet(str(tmp_path), ["train"], [], per_category=5000)
    with pytest.raises(UserError, match="No such file"):  # it tries to read them
        plot_contact_sheet(str(tmp_path), ["train"], [], per_category=4000)


def test_a_damaged_image_is_named(tmp_path):
    manifest = write_dataset(tmp_path, {"cat": 2}, shards=1)
    (shard,) = manifest.splits["train"].shards
    example = records.encode_example(b"no PNG", 0, b"key 7")
    content = records.frame_record(example)
    (tmp_path / shard.file).write_bytes(content)
    png = dataclasses.replace(manifest, image=manifest.image | {"encoding": "png"})
    text = png.to_json().replace(shard.sha256, hashlib.sha256(content).hexdigest())
    (tmp_path / manifests.MANIFEST).write_text(text)
    with pytest.raises(UserError, match="drawing key 7 has a damaged image"):
        plot_contact_sheet(str(tmp_path), ["train"], [], per_category=2)
