"""Packaging. The base requirements are exactly what a Beam worker of the pipeline needs."""

from setuptools import find_packages, setup

setup(
    name="inceptionresnet-quickdraw",
    version="0.1.0",
    description="From Quick, Draw! strokes to a trained Inception-ResNet classifier.",
    license="Apache-2.0",
    packages=find_packages(include=["pipeline*", "trainer*", "analysis*"]),
    package_data={
        "pipeline": ["labels/*.txt"],
        "trainer.models": ["study.json"],
        "analysis.sections": ["page.css", "page.js"],
    },
    python_requires=">=3.10",
    install_requires=[
        "absl-py>=2.1",
        "apache-beam>=2.68",
        "google-crc32c>=1.5",  # TFRecord checksums, in C
        "numpy>=2.0",
        "opencv-python-headless>=4.10",  # the desktop wheel needs libGL, which slim images lack
        "orjson>=3.10",  # parses a drawing several times faster than json
        "requests>=2.31",  # of the download
        "tqdm>=4.66",
    ],
    extras_require={
        "trainer": [
            "ai-edge-litert>=2",  # runs exported TensorFlow Lite models
            "tensorflow>=2.20",
            "tensorboard>=2.20",
        ],
        "analysis": ["matplotlib>=3.9", "pillow>=11"],
        "gcp": [
            "apache-beam[gcp]",
            "google-cloud-storage>=3",
            "setuptools",  # Beam makes the workers' source distribution with it
        ],
        "dev": [
            "cryptography>=42",  # a certificate for the test of TensorFlow's gs://
            "gcp-storage-emulator>=2026.7",
            "google-cloud-storage>=3",
            "hypothesis>=6",
            "mypy>=1.15",
            "psutil>=6",  # the benchmark watches memory with it
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.11",
            "scikit-learn>=1.6",  # metrics are compared with its
            "selenium>=4.30",  # the report's test opens it in Chromium
            # A test opens data sets with it. Below 3.11 it wants a protobuf too old for the others.
            "tensorflow-datasets>=4.9.8 ; python_version >= '3.11'",
        ],
    },
)
