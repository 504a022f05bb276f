"""Classifiers, from bitmaps to probabilities: a run's checkpoint, or a file of trainer.export.

Each format imports what it needs when it is loaded: a TensorFlow Lite model needs no TensorFlow.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import flags

from pipeline import cli
from pipeline.cli import UserError
from pipeline.dataset.records import IMAGE_SIZE
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.runs.state import define_checkpoint_flag
from trainer.training.initial_weights import cannot_load, load_keras, read_labels

if TYPE_CHECKING:
    from trainer.training.checkpoints import SavedRun

# Files of trainer.export, by format.
FILES = {
    "keras": "model.keras",
    "saved_model": "saved_model",
    "tflite_float32": "model_float32.tflite",
    "tflite_float16": "model_float16.tflite",
    "tflite_int8": "model_int8.tflite",
    "onnx": "model.onnx",
    "web": "web",
}
# Without those that need more packages, or a download.
DEFAULT_FORMATS = tuple(name for name in FILES if name not in ("onnx", "web"))
WEB_MODEL, WEB_DESCRIPTION = "model.tflite", "model.json"  # in the directory of format web
# Comes with the package: of Quick, Draw!'s 345 categories.
PRETRAINED = os.path.join(
    os.path.dirname(os.path.dirname(__file__)), "pretrained", FILES["tflite_int8"]
)
_MAX_THREADS = 8  # the small maps of one drawing keep no more busy


class Classifier(NamedTuple):
    """A function that classifies drawings, and its labels."""

    labels: tuple[str, ...]
    classify: Callable[[np.ndarray], np.ndarray]

    def __call__(self, bitmaps: np.ndarray) -> np.ndarray:
        """Classify [B, 85, 85] uint8 of 0 and 1, B at least 1 → [B, classes] float32."""
        return self.classify(bitmaps)


def load_run(run_dir: str, checkpoint: str) -> Classifier:
    """Load a checkpoint of a run, "best", "last" or of an epoch, to compute in float32.

    Raises:
      UserError: it is no run directory, or no epoch is finished.
      RunError: the checkpoint is damaged.
    """
    with quiet_tensorflow():
        from trainer.training import checkpoints
    return from_run(checkpoints.load_run(run_dir, checkpoint))


def from_run(run: "SavedRun") -> Classifier:
    """Make a classifier of a loaded checkpoint."""
    return _from_keras(run.with_probabilities(), run.labels)


def load_export(path: str) -> Classifier:
    """Load a file of trainer.export: a .keras, .tflite or .onnx file or a directory of one.

    A directory is a SavedModel, or a page with its model.

    Raises:
      UserError: it is none of these, damaged, without labels, or a package is missing.
    """
    if not os.path.exists(path):
        raise UserError(f"{path}: no such file or directory")
    if os.path.exists(os.path.join(path, WEB_DESCRIPTION)):
        return _load_tflite(os.path.join(path, WEB_MODEL), read_page_labels(path))
    if os.path.isdir(path):
        return _load_saved_model(path)
    if path.endswith(".keras"):
        return _from_keras(*load_keras(path))
    if path.endswith(".tflite"):
        return _load_tflite(path, read_labels(path))
    if path.endswith(".onnx"):
        return _load_onnx(path)
    raise UserError(f"{path}: neither a .keras, .tflite or .onnx file nor a SavedModel directory")


def define_flags() -> None:
    """Define the flags that choose a model for a command that classifies drawings."""
    cli.define_path(
        "run_dir",
        None,
        "Run directory of trainer.main. Default, without --model: the pretrained model of Quick, "
        "Draw!'s 345 categories.",
        is_for_tensorflow=True,
    )
    define_checkpoint_flag("With --run_dir: ")
    cli.define_path(
        "model",
        None,
        "Instead of --run_dir: a file of trainer.export, or the directory of a SavedModel or web.",
        kind="PATH",
        is_for_tensorflow=True,
    )


def check_flags() -> None:
    """Raise UserError for flags of `define_flags` that exclude each other."""
    args = flags.FLAGS
    if args.run_dir is not None and args.model is not None:
        raise UserError("--run_dir or --model, not both")
    if args.run_dir is None and args["checkpoint"].present:
        raise UserError("--checkpoint chooses from a --run_dir")


def load_chosen() -> tuple[Classifier, str]:
    """Load the model that the flags choose; return it and its name.

    Raises what `load_run` and `load_export` do.
    """
    args = flags.FLAGS
    if args.run_dir is not None:
        return load_run(args.run_dir, args.checkpoint), _name(args.run_dir)
    if args.model is not None:
        return load_export(args.model), _name(args.model)
    return load_export(PRETRAINED), "pretrained"


def _name(path: str) -> str:
    return os.path.basename(os.path.abspath(path))


def litert_threads() -> int:
    """Return the number of threads of a TensorFlow Lite model on this machine."""
    return min(len(os.sched_getaffinity(0)), _MAX_THREADS)


def bitmap_function(network: Any) -> Callable[[Any], Mapping[str, Any]]:
    """Make a tf.function: [B, 85, 85] uint8 of 0 and 1 → probabilities, [B, classes] float32.

    `network`: a keras.Model from [B, 85, 85, 1] float32 to probabilities.
    """
    import tensorflow as tf

    signature = tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE], tf.uint8, name="bitmaps")

    @tf.function(input_signature=[signature], jit_compile=False, autograph=False)
    def classify(bitmaps: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.cast(bitmaps, tf.float32)[..., tf.newaxis]
        return {"probabilities": network(images, training=False)}

    return classify


def _from_keras(network: Any, labels: tuple[str, ...]) -> Classifier:
    function = bitmap_function(network)
    return Classifier(labels, lambda bitmaps: function(bitmaps)["probabilities"].numpy())


def _load_saved_model(path: str) -> Classifier:
    if not os.path.exists(os.path.join(path, "saved_model.pb")):
        raise UserError(
            f"{path}: no SavedModel (no saved_model.pb); --model takes one of a directory's exports"
        )
    with quiet_tensorflow():
        import tensorflow as tf

        from trainer.hardware import storage
    try:
        with storage.literal(path) as directory:
            model = tf.saved_model.load(directory)
        labels = model.signatures["labels"]()["labels"].numpy()
        function = model.signatures["serving_default"]
    except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
        raise cannot_load(path, error) from None

    def classify(bitmaps: np.ndarray) -> np.ndarray:
        return function(bitmaps=tf.constant(bitmaps))["probabilities"].numpy()

    return Classifier(tuple(label.decode() for label in labels), classify)


def read_page_labels(path: str) -> tuple[str, ...]:
    """Read the labels in a directory of format web.

    Raises:
      UserError: there are none.
    """
    description = os.path.join(path, WEB_DESCRIPTION)
    try:
        with open(description, encoding="utf-8") as file:
            return tuple(json.load(file)["labels"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{description}: no labels in it; damaged, or not written by trainer.export"
        ) from None


def _load_tflite(path: str, labels: tuple[str, ...]) -> Classifier:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError(f"{path} needs ai-edge-litert: pip install '.[trainer]'") from None
    try:
        with quiet_tensorflow():  # it prints its choice of kernels
            interpreter = Interpreter(path, num_threads=litert_threads())
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise cannot_load(path, error) from None
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()

    def classify(bitmaps: np.ndarray) -> np.ndarray:
        images = _quantize(bitmaps[..., np.newaxis], source)
        outputs = np.empty((len(bitmaps), len(labels)), result["dtype"])
        # One at a time: batches take as long and a hundred times the memory.
        for row, output in enumerate(outputs):
            interpreter.set_tensor(source["index"], images[row : row + 1])
            interpreter.invoke()
            output[:] = interpreter.get_tensor(result["index"])[0]
        return _dequantize(outputs, result)

    return Classifier(labels, classify)


def _load_onnx(path: str) -> Classifier:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{path} needs onnxruntime: pip install '.[onnx]'") from None
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        labels = session.get_modelmeta().custom_metadata_map["labels"].splitlines()
    except KeyError:
        raise UserError(f"{path}: no labels in it; not written by trainer.export") from None
    except Exception as error:  # its errors have no class in common
        raise cannot_load(path, error) from None

    def classify(bitmaps: np.ndarray) -> np.ndarray:
        image = bitmaps[..., np.newaxis].astype(np.float32)
        return session.run(["probabilities"], {"image": image})[0]

    return Classifier(tuple(labels), classify)


def _quantize(values: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    """Convert numbers for a tensor of a TensorFlow Lite model: value / scale + zero point."""
    scale, zero_point = tensor["quantization"]  # a scale of 0: not quantized
    if scale:
        values = np.rint(values / scale + zero_point)
    return values.astype(tensor["dtype"])


def _dequantize(values: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    """Invert `_quantize`, to float32."""
    scale, zero_point = tensor["quantization"]
    if scale:
        return (values.astype(np.float32) - zero_point) * np.float32(scale)
    return values.astype(np.float32)
