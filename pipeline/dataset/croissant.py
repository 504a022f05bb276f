"""Croissant metadata of a data set, with the Responsible AI fields: `croissant.json`.

The vocabularies are MLCommons': https://docs.mlcommons.org/croissant/docs/croissant-spec.html and
…/croissant-rai-spec.html. `mlcroissant validate --jsonld croissant.json` reads it; records are
TFRecords, which Croissant names but does not open, so that its record sets are labels and splits.
"""

import json
from typing import Any

from pipeline.dataset.manifests import SPLITS, Manifest

FILE = "croissant.json"
_UPSTREAM = "https://github.com/googlecreativelab/quickdraw-dataset"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_RAI: dict[str, Any] = {
    "dataCollection": "Players of the game Quick, Draw! were given a word and 20 seconds to draw "
    "it, while a model guessed; drawings of other origin are named in manifest.json.",
    "dataCollectionType": ["Software Collection"],
    "dataAnnotationProtocol": "The label is the word that the player was asked to draw. Nobody "
    "looked at the drawing; the game's model recognized most: see `recognized` in the source.",
    "dataLimitations": "About a tenth of the labels are estimated to be wrong (arXiv 2103.14749). "
    "Bitmaps of 85 by 85 pixels have neither the order nor the time of strokes.",
    "dataBiases": "Players were visitors of a web page, most of them from a few countries, and "
    "words mean different things in different places.",
    "personalSensitiveInformation": "None was asked for. Of a drawing upstream published the "
    "country and the time; these records hold neither. Players may have drawn or written anything.",
    "dataUseCases": "Training and comparing classifiers of sketches.",
    "dataSocialImpact": "Models of it recognize doodles as these players draw them, others worse.",
    "dataReleaseMaintenancePlan": "It is made by software from its sources; make it anew to update "
    "it.",
}


def croissant(manifest: Manifest) -> str:
    """Return the text of the file."""
    return json.dumps(_dataset(manifest), indent=1, ensure_ascii=False) + "\n"


def _dataset(manifest: Manifest) -> dict[str, Any]:
    height, width = manifest.image["height"], manifest.image["width"]
    size = manifest.rasterizer.get("canvas_size")
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "quickdraw",
        "description": f"Drawings of {len(manifest.labels)} categories as {width}x{height} bitmaps "
        "in TFRecords; manifest.json says how they were made. License, creator and citation are "
        "those of Quick, Draw!: drawings of other origin have their own."
        + (f" Records also hold {', '.join(manifest.fields)}." if manifest.fields else ""),
        "conformsTo": [
            "http://mlcommons.org/croissant/1.0",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "url": _UPSTREAM,
        "citeAs": "The Quick, Draw! Dataset, made available by Google, Inc. under CC BY 4.0.",
        "creator": {"@type": "sc:Organization", "name": "Google, Inc.", "url": _UPSTREAM},
        "datePublished": "2017-05-15",
        "version": "1.0.0",
        "isLiveDataset": False,
        **{f"rai:{name}": value for name, value in _rai(manifest).items()},
        "rai:dataPreprocessingProtocol": [
            "Strokes were aligned, scaled to 255, resampled at 1 pixel and simplified with an "
            "epsilon of 2.",
            f"They were drawn on a canvas of {size} pixels and shrunk to {width}x{height}.",
        ],
        "distribution": _distribution(manifest),
        "recordSet": [_labels(manifest), _splits(manifest)],
    }


def _rai(manifest: Manifest) -> dict[str, Any]:
    """Return _RAI, with what the records hold of players' country and time."""
    names = {"countrycode": "the country", "timestamp": "the time"}
    held = " and ".join(name for field, name in names.items() if field in manifest.fields)
    name = "personalSensitiveInformation"
    return {**_RAI, name: _RAI[name].replace("hold neither", f"hold {held or 'neither'}")}


def _distribution(manifest: Manifest) -> list[dict[str, Any]]:
    """Return a file object for each shard."""
    return [
        {
            "@type": "cr:FileObject",
            "@id": shard.file,
            "name": shard.file,
            "description": f"{shard.records:,} records of the {name} split.",
            "contentUrl": shard.file,
            "contentSize": f"{shard.bytes} B",
            "encodingFormat": "application/octet-stream",
            "sha256": shard.sha256,
        }
        for name in SPLITS
        for shard in manifest.splits[name].shards
    ]


def _labels(manifest: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "labels",
        "name": "labels",
        "description": "Categories, by class index.",
        "dataType": "sc:Enumeration",
        "key": {"@id": "labels/index"},
        "field": [
            _field("labels/index", "Class index, as in the records.", "sc:Integer"),
            _field("labels/name", "Category.", "sc:Text"),
        ],
        "data": [
            {"labels/index": index, "labels/name": label}
            for index, label in enumerate(manifest.labels)
        ],
    }


def _splits(manifest: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "Splits, and how many records they have.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            _field("splits/name", "Name of the split, as in the names of its files.", "sc:Text"),
            _field("splits/records", "Number of its drawings.", "sc:Integer"),
        ],
        "data": [
            {"splits/name": name, "splits/records": manifest.splits[name].records}
            for name in SPLITS
        ],
    }


def _field(name: str, description: str, data_type: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": name,
        "name": name,
        "description": description,
        "dataType": data_type,
    }
