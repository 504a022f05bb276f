"""Mean drawings: the mean of the shards' pixels beside the right names, on one scale."""

import io

import numpy as np
import pytest
from PIL import Image

from analysis.mean_drawings import Mean, draw_mean_drawings, plot_mean_drawings, read_means
from analysis.style import figures
from pipeline.cli import UserError
from tests.support.analysis_data import bitmaps_in_shards, run_command, write_dataset
from tests.support.figure_texts import LABELS, assert_texts_are_apart, text_boxes

COUNTS = {"cat": 9, "The Great Wall of China": 7, "car": 2}


def test_a_mean_is_that_of_all_bitmaps_of_its_category(tmp_path):
    manifest = write_dataset(tmp_path, COUNTS)
    means = read_means(str(tmp_path), manifest, "train", ["car", "cat"])
    assert [*means] == ["car", "cat"]
    for label, mean in means.items():
        bitmaps = bitmaps_in_shards(tmp_path, manifest, label)
        assert mean.drawings == len(bitmaps) == COUNTS[label]
        np.testing.assert_allclose(mean.image, np.mean(bitmaps, axis=0))


def test_the_mean_of_some_is_of_the_first_in_the_shards(tmp_path):
    manifest = write_dataset(tmp_path, COUNTS)
    mean = read_means(str(tmp_path), manifest, "train", ["cat"], per_category=4)["cat"]
    assert mean.drawings == 4
    bitmaps = bitmaps_in_shards(tmp_path, manifest, "cat")
    np.testing.assert_allclose(mean.image, np.mean(bitmaps[:4], axis=0))


@pytest.mark.parametrize(("count", "pixel"), [(3, 2), (61, 1)])
def test_the_picture_holds_each_mean_above_its_name(count, pixel):
    """`pixel`: of the picture, to a pixel of the mean."""
    rng = np.random.default_rng(count)
    means = {label: Mean(rng.random((85, 85)), 4) for label in LABELS[:count]}
    figure = draw_mean_drawings(means, "a title")
    picture = Image.open(io.BytesIO(figures.render(figure, "png")))
    assert picture.mode == "L"
    pixels = np.asarray(picture)
    axes = figure.axes[0]
    for image, (label, mean) in zip(axes.images, means.items(), strict=True):
        left, right, bottom, top = (round(float(x)) for x in image.get_extent())
        assert (right - left, bottom - top) == (85 * pixel, 85 * pixel)
        shown = pixels[top:bottom, left:right]
        expected = np.repeat(np.repeat(255 * (1 - mean.image), pixel, axis=0), pixel, axis=1)
        assert np.abs(shown - expected).max() < 4  # the scale ends at 100%: 99% of random pixels
        first_line = label.split()[0]
        below = [text for text in axes.texts if text.get_position()[0] == (left + right) / 2]
        lines = [text for text in below if 0 < text.get_position()[1] - bottom < 40]
        assert lines[0].get_text().startswith(first_line)


def test_the_scale_ends_where_nearly_all_pixels_do():
    image = np.full((85, 85), 0.22)
    image[0, :40] = 0.9  # half a percent of the pixels
    figure = draw_mean_drawings({"cat": Mean(image, 100)}, "a title")
    assert figure.axes[0].images[0].norm.vmax == pytest.approx(0.25)
    blank = draw_mean_drawings({"cat": Mean(np.zeros((85, 85)), 100)}, "a title")
    assert blank.axes[0].images[0].norm.vmax == pytest.approx(0.05)


@pytest.mark.parametrize("count", [1, 2, 12, 60, 345])
@pytest.mark.parametrize("numbers", [[100], [100, 250_000]])
def test_texts_are_apart_and_off_the_drawings(count, numbers):
    means = {
        label: Mean(np.ones((85, 85)), numbers[i % len(numbers)])
        for i, label in enumerate(LABELS[:count])
    }
    figure = draw_mean_drawings(means, "Mean of 100 training drawings of each category")
    found = assert_texts_are_apart(figure)
    height = figure.bbox.y1
    images = [image.get_extent() for image in figure.axes[0].images]
    drawn = np.array(
        [[left, height - low, right, height - top] for left, right, low, top in images]
    )
    for text, (x0, y0, x1, y1) in found:
        apart = (
            (x1 <= drawn[:, 0]) | (x0 >= drawn[:, 2]) | (y1 <= drawn[:, 1]) | (y0 >= drawn[:, 3])
        )
        assert apart.all(), text
    width, height = figure.get_size_inches()
    assert 0.6 < width / height < 2.5


def test_n_stands_in_the_title_and_below_each_name_where_it_differs(tmp_path):
    write_dataset(tmp_path, {"cat": 9, "ant": 0, "car": 2})
    figure = plot_mean_drawings(str(tmp_path), "train")
    texts = [text for text, _ in text_boxes(figure)]
    assert "Mean of 0 to 9 training drawings of each of 3 categories" in texts
    assert [text for text in texts if text.startswith("n =")] == ["n = 9", "n = 0", "n = 2"]
    assert len(figure.axes[0].images) == 2  # none of no drawings
    same = plot_mean_drawings(str(tmp_path), "train", per_category=2, categories=["cat", "car"])
    texts = [text for text, _ in text_boxes(same)]
    assert "Mean of 2 training drawings of each of 2 categories" in texts
    assert not [text for text in texts if text.startswith("n =")]


def test_a_missing_shard_is_named(tmp_path):
    manifest = write_dataset(tmp_path, COUNTS)
    (tmp_path / manifest.splits["train"].shards[1].file).unlink()
    with pytest.raises(UserError, match="00001-of-00002: No such file"):
        plot_mean_drawings(str(tmp_path), "train")


def test_the_command_writes_the_same_picture_again(tmp_path):
    write_dataset(tmp_path / "data", COUNTS)
    pictures = []
    for name in ("a.png", "b.png"):
        result = run_command(
            "analysis.mean_drawings",
            f"--dataset={tmp_path / 'data'}",
            f"--output={tmp_path / name}",
            "--categories=car,The Great Wall of China",
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == f"wrote {tmp_path / name}\n"
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--categories=cats",), "has no category 'cats'; did you mean 'cat'?"),
        (("--split=test",), "no drawings in the test split"),
        (("--per_category=0",), "--per_category"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(tmp_path, flags, message):
    write_dataset(tmp_path, COUNTS)
    result = run_command(
        "analysis.mean_drawings", f"--dataset={tmp_path}", "--output=x.png", *flags
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
