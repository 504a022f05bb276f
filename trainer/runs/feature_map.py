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

    Axes are turned so that the feature that weighs most in each has a positive weight. A drawing
    with a feature that is no finite number has no place.

    Args:
      features: [N, F].
    """
    is_finite = np.isfinite(features).all(axis=1)
    known = np.pad(features[is_finite].astype(np.float64), ((0, 0), (0, 2)))  # of one feature, too
    centred = known - known.sum(axis=0) / max(len(known), 1)
    _, sizes, directions = np.linalg.svd(centred.T @ centred)  # [F, F]: F is small beside N
    axes = directions[:2]
    heaviest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1)
    places = np.full((len(features), 2), np.nan, np.float32)
    places[is_finite] = centred @ (axes * np.sign(heaviest)).T
    shares = sizes[:2] / max(sizes.sum(), np.finfo(float).tiny)
    return FeatureMap(places, (float(shares[0]), float(shares[1])))
