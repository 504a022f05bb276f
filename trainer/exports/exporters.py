"""Writers of a trained model to files that are used without this code.

Inputs and outputs of the formats:

  .keras       image [B, 85, 85, 1] float32 of 0 and 1 → probabilities [B, classes] float32; Keras'
               own layers only, the last two called `logits` and `probabilities`
  SavedModel   signature `serving_default`: bitmaps [B, 85, 85] uint8 of 0 and 1 → probabilities
               [B, classes] float32; signature `labels`: nothing → labels [classes] string
  .tflite      signature `serving_default`: image → probabilities, as of .keras; of the int8 model
               both are int8, with scale and zero point as TensorFlow Lite has it
  .onnx        image → probabilities, as of .keras
  web          a page to draw on, with the int8 model, whose image and probabilities are float32

1 is ink. Labels travel inside: `labels.txt` is an entry of the ZIP archive that a .keras file is;
of the archive at the end of a .tflite file, where TensorFlow Lite's metadata has associated files;
in the assets of a SavedModel; in the metadata of an ONNX model, a line each; in `model.json` of a
page. A .keras file holds `architecture.json` too, from which training can start (--init_from): the
keys experiment, architecture and epoch.
"""

import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.cli import RunError
from pipeline.dataset.records import IMAGE_SIZE
from trainer.exports.classifiers import bitmap_function
from trainer.exports.web_page import Page, write_page
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.training.initial_weights import DESCRIPTION, LABELS

_ENTRY_TIME = (1980, 1, 1, 0, 0, 0)  # in an archive; the earliest there is


def standard_model(model: keras.Model) -> keras.Model:
    """Copy a model to Keras' own layers only.

    Dropout and batch normalisation are ours, for several replicas; both stay in, for training.
    """
    copy = keras.models.clone_model(model, clone_function=_standard_layer)
    for layer in model.layers:
        for target, weight in zip(copy.get_layer(layer.name).weights, layer.weights, strict=True):
            target.assign(weight.value)
    return copy


def write_export(
    name: str,
    model: keras.Model,
    labels: Sequence[str],
    path: str,
    calibration: np.ndarray,
    description: dict[str, Any],
    page: Page | None = None,
) -> None:
    """Write a model in one format.

    Args:
      name: of the format, a key of `trainer.exports.classifiers.FILES`.
      model: a `standard_model`.
      labels: of its classes.
      path: of the file or directory.
      calibration: [N, 85, 85] uint8 of 0 and 1, drawings for the range of each tensor of int8.
      description: the content of a .keras file's architecture.json.
      page: the parts of the page, for format web.

    Raises:
      RunError: it cannot be written.
    """
    try:
        if name == "saved_model":
            _write_saved_model(model, labels, path)
            return
        if name == "onnx":
            _write_onnx(model, labels, path)
            return
        if name == "web":
            assert page
            write_page(path, _convert(model, "int8", calibration), labels, page)
            return
        if name == "keras":
            model.save(path)
        else:
            content = _convert(model, name.removeprefix("tflite_"), calibration)
            with open(path, "wb") as file:
                file.write(content)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(zipfile.ZipInfo(LABELS, _ENTRY_TIME), _lines(labels))
            if name == "keras":
                entry = zipfile.ZipInfo(DESCRIPTION, _ENTRY_TIME)
                archive.writestr(entry, json.dumps(description, indent=1))
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    except tf.errors.OpError as error:
        raise RunError(f"{path}: cannot be written: {error.message}") from None


def _write_saved_model(model: keras.Model, labels: Sequence[str], path: str) -> None:
    @tf.function(input_signature=[])
    def list_labels() -> dict[str, tf.Tensor]:
        return {"labels": tf.constant(labels)}

    function = bitmap_function(model)
    module = _module(model, function, list_labels)
    with tempfile.TemporaryDirectory() as directory:
        labels_file = os.path.join(directory, LABELS)
        with open(labels_file, "wb") as file:
            file.write(_lines(labels))
        module.labels_file = tf.saved_model.Asset(labels_file)
        signatures = {"serving_default": function, "labels": list_labels}
        tf.saved_model.save(module, path, signatures)


def _write_onnx(model: keras.Model, labels: Sequence[str], path: str) -> None:
    """Write an ONNX model by Keras and tf2onnx, whose names of outputs and batches are made up."""
    import onnx

    image = keras.InputSpec("float32", shape=(None, IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    with quiet_tensorflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about NumPy's former names
        model.export(path, verbose=False, format="onnx", input_signature=[image])
    written = onnx.load(path)
    (source,), (result,) = written.graph.input, written.graph.output
    for node in written.graph.node:
        node.output[:] = ["probabilities" if each == result.name else each for each in node.output]
    result.name = "probabilities"
    for tensor in (source, result):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(written, {"labels": "\n".join(labels)})
    onnx.checker.check_model(written)
    onnx.save(written, path)


def _convert(model: keras.Model, number_format: str, calibration: np.ndarray) -> bytes:
    """Return the content of a .tflite file in float32, float16 (its weights) or int8."""
    signature = tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE, 1], tf.float32, name="image")

    @tf.function(input_signature=[signature])
    def classify(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": model(image, training=False)}

    def samples() -> Iterator[list[np.ndarray]]:
        for bitmap in calibration:
            yield [bitmap[np.newaxis, ..., np.newaxis].astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [classify.get_concrete_function()], _module(model, classify)
    )
    if number_format == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    elif number_format == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with quiet_tensorflow():  # the converter's C++ code prints its progress
        return converter.convert()


def _standard_layer(layer: keras.Layer) -> keras.Layer:
    if isinstance(layer, keras.layers.Dropout):
        return keras.layers.Dropout(layer.rate, dtype="float32", name=layer.name)
    if isinstance(layer, keras.layers.BatchNormalization):
        config = layer.get_config() | {"synchronized": False}
        return keras.layers.BatchNormalization.from_config(config)
    return type(layer).from_config(layer.get_config())


def _module(model: keras.Model, *functions: Callable[..., Any]) -> tf.Module:
    """Collect what to save: TensorFlow finds no variables by following a Keras model."""
    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    module.functions = functions
    return module


def _lines(labels: Sequence[str]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()
