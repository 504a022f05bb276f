"""The page to draw on as files for any static host, with an int8 model that the browser runs."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema  # of TensorFlow Lite's files

from pipeline.dataset.records import IMAGE_SIZE
from trainer.exports.classifiers import WEB_DESCRIPTION, WEB_MODEL
from trainer.exports.litertjs import MODULES
from trainer.page.page_files import static_files

_IDENTIFIER = b"TFL3"  # of a TensorFlow Lite file


class Page(NamedTuple):
    """Parts of the page besides its model."""

    name: str  # of the model, as the page shows it
    litertjs: Mapping[str, bytes]  # of trainer.exports.litertjs


def write_page(directory: str, model: bytes, labels: Sequence[str], page: Page) -> None:
    """Write the page.

    Args:
      directory: of the page; made if it is not there.
      model: content of an int8 TensorFlow Lite model of `trainer.exports.exporters`.
      labels: of its classes.
      page: the other parts.

    Raises:
      OSError: it cannot be written.
    """
    description = {"model": page.name, "labels": list(labels)}
    files = {
        **static_files(MODULES),
        **page.litertjs,
        WEB_MODEL: for_browser(model),
        WEB_DESCRIPTION: json.dumps(description, ensure_ascii=False).encode(),
    }
    for name, content in files.items():
        path = os.path.join(directory, *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


def for_browser(content: bytes) -> bytes:
    """Rewrite an int8 model for LiteRT.js, which takes and gives no int8, nor batches of any size.

    A batch is one drawing then. Quantizing the image, at the start, and the probabilities' numbers,
    at the end, become operations of the model: it computes what it did, bit for bit.

    Args:
      content: of a .tflite file from image to probabilities, both int8.

    Returns:
      The content of one from [1, 85, 85, 1] float32 to [1, classes] float32.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    (graph,) = model.subgraphs
    (image,), (probabilities,) = graph.inputs, graph.outputs
    assert list(graph.tensors[image].shape) == [1, IMAGE_SIZE, IMAGE_SIZE, 1]
    for tensor in graph.tensors:
        tensor.shapeSignature = None  # where it says that a batch has any size
    codes = schema.BuiltinOperator
    source, result = _add_float_twin(graph, image), _add_float_twin(graph, probabilities)
    quantize = _operator(model, codes.QUANTIZE, 1, source, image)
    dequantize = _operator(model, codes.DEQUANTIZE, 2, probabilities, result)
    graph.operators = [quantize, *graph.operators, dequantize]
    graph.inputs, graph.outputs = [source], [result]
    for signature in model.signatureDefs:
        signature.inputs[0].tensorIndex, signature.outputs[0].tensorIndex = source, result
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _add_float_twin(graph: Any, index: int) -> int:
    """Add a float32 tensor with the shape and the name of another; return its index."""
    tensor, twin = graph.tensors[index], schema.TensorT()
    twin.name, twin.shape, twin.hasRank = tensor.name, tensor.shape, tensor.hasRank
    twin.type = schema.TensorType.FLOAT32
    tensor.name += b"_int8"
    graph.tensors.append(twin)
    return len(graph.tensors) - 1


def _operator(model: Any, builtin: int, version: int, source: int, result: int) -> Any:
    """Make an operation from one tensor to another."""
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    model.operatorCodes.append(code)
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [source], [result]
    return operator
