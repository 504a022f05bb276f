"""Map of drawings: the features by which a model tells them apart, on a plane. No TensorFlow."""

from typing import NamedTuple

import numpy as np

MOST = 20_000  # drawings on a map: as many as the report holds


class FeatureMap(NamedTuple):
    """Places of the drawings of a split, in their order."""

    places: np.ndarray  # [N, 2] float32, NaN for drawings that are not on the map
    variance: tuple[float, float]  # shares of the features' variance along both axes


def project(features: np.ndarray) -> FeatureMap:
    """Return the first two principal components of features.

    Axes are turned so that the feature that weighs most in each has a positive weight.

    Args:
      features: [N, F], at least one drawing and two features.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, sizes, directions = np.linalg.svd(centred.T @ centred)  # [F, F]: F is small beside N
    axes = directions[:2]
    heaviest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1)
    places = centred @ (axes * np.sign(heaviest)).T
    shares = sizes[:2] / max(sizes.sum(), np.finfo(float).tiny)
    return FeatureMap(places.astype(np.float32), (float(shares[0]), float(shares[1])))
