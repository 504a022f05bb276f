"""TensorFlow Datasets opens a data set directory without our code."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.dataset import records
from pipeline.dataset.manifests import DataSet
from pipeline.graph.sampling import Quotas
from tests.support.ndjson import line


@pytest.mark.parametrize("encoding", ["packed", "png"])
def test_every_image_label_and_key_is_the_same(
    encoding: str, write_lines: Callable[[str, Sequence[str]], str], tmp_path: pathlib.Path
) -> None:
    tfds = pytest.importorskip("tensorflow_datasets", reason="needs Python 3.11")
    words = ["The Great Wall of China", "cat"]
    lines = [line(word, 1000 * i + n) for i, word in enumerate(words) for n in range(700)]
    _, manifest = job.run(
        patterns=[write_lines("all.ndjson", lines)],
        output=str(tmp_path / "data"),
        quotas=Quotas(train=600, validation=50),
        image_encoding=encoding,
        options=PipelineOptions(["--direct_num_workers=1"]),
    )
    builder = tfds.builder_from_directory(str(tmp_path / "data"))
    assert builder.info.features["label"].names == words
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 1200,
        "validation": 100,
    }
    for split in ("train", "validation"):
        expected = {e.key_id: e for e in DataSet(f"{tmp_path}/data", manifest).examples(split)}
        found = list(tfds.as_numpy(builder.as_dataset(split=split)))
        assert {example["key_id"] for example in found} == expected.keys()
        for example in found:
            ours = expected[example["key_id"]]
            assert example["label"] == ours.label
            bitmap = records.DECODERS[encoding](ours.image)
            if encoding == "png":
                assert example["image"].shape == (85, 85, 1)
                image = example["image"][:, :, 0] // 255
            else:
                image = np.unpackbits(np.frombuffer(example["image"], np.uint8))[: 85 * 85]
            np.testing.assert_array_equal(image.reshape(85, 85), bitmap)
        pairs = tfds.as_numpy(builder.as_dataset(split=split, as_supervised=True))
        assert [(np.asarray(image).tobytes(), label) for image, label in pairs] == [
            (np.asarray(example["image"]).tobytes(), example["label"]) for example in found
        ]
