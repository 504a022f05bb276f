"""Files that describe a data set to other programs: labels, Croissant, TensorFlow Datasets.

With these TensorFlow Datasets opens a data set directory without our code:

    tfds.builder_from_directory(DIR).as_dataset(split="train", as_supervised=True)

Their formats are its own (tensorflow_datasets/core/proto/{dataset_info,feature}.proto, as JSON);
writing them takes no TensorFlow. Packed images come as bytes that `numpy.unpackbits` opens.
"""

import json
from typing import Any

from pipeline.dataset.croissant import FILE as CROISSANT
from pipeline.dataset.croissant import croissant
from pipeline.dataset.manifests import LABELS, Manifest, generation_of
from pipeline.dataset.records import FIELDS

# In the order in which they may appear: without the last one nothing opens the directory.
SIDE_FILES = (LABELS, CROISSANT, "features.json", "label.labels.txt", "dataset_info.json")
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_FEATURES = "tensorflow_datasets.core.features"


def _scalar(dtype: str) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_FEATURES}.scalar.Scalar",
        "tensor": {"shape": {}, "dtype": dtype, "encoding": "none"},
    }


_PACKED_IMAGE = _scalar("string")
_INTEGER = _scalar("int64")
_TEXT = {"pythonClassName": f"{_FEATURES}.text_feature.Text", "text": {}}


def side_files(manifest: Manifest) -> dict[str, str]:
    """Return the content of each file, by its name."""
    labels = "".join(f"{label}\n" for label in manifest.labels)
    return {
        LABELS: labels,
        CROISSANT: croissant(manifest),
        "features.json": _json(_features(manifest)),
        "label.labels.txt": labels,
        "dataset_info.json": _json(_dataset_info(manifest)),
    }


def earlier_side_files(manifest: Manifest) -> dict[str, str]:
    """Return the content of each file as 0.1.0 wrote it: no Croissant, no supervised keys."""
    info = _dataset_info(manifest)
    del info["supervisedKeys"]
    texts = {**side_files(manifest), "dataset_info.json": _json(info)}
    return {name: text for name, text in texts.items() if name != CROISSANT}


def _dataset_info(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": "quickdraw",
        "version": "1.0.0",
        "description": "Quick, Draw! drawings as 85x85 bitmaps; manifest.json says how made.",
        "citation": "The Quick, Draw! Dataset, made available by Google, Inc. under CC BY 4.0.",
        "location": {"urls": ["https://github.com/googlecreativelab/quickdraw-dataset"]},
        "fileFormat": "tfrecord",
        "supervisedKeys": {"input": "image", "output": "label"},
        "splits": [
            {
                "name": name,
                "shardLengths": [str(shard.records) for shard in split.shards],
                "numBytes": str(sum(shard.bytes for shard in split.shards)),
                "filepathTemplate": _TEMPLATE + generation_of(split.shards[0].file),
            }
            for name, split in manifest.splits.items()
            if split.shards
        ],
    }


def _features(manifest: Manifest) -> dict[str, Any]:
    shape = [str(manifest.image["height"]), str(manifest.image["width"]), "1"]
    png_image = {
        "pythonClassName": f"{_FEATURES}.image_feature.Image",
        "image": {"shape": {"dimensions": shape}, "dtype": "uint8", "encodingFormat": "png"},
    }
    features = {
        "image": png_image if manifest.image["encoding"] == "png" else _PACKED_IMAGE,
        "label": {
            "pythonClassName": f"{_FEATURES}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(len(manifest.labels))},
        },
        "key_id": _TEXT,
        **{name: _INTEGER if FIELDS[name] is int else _TEXT for name in manifest.fields},
    }
    return {
        "pythonClassName": f"{_FEATURES}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1) + "\n"
