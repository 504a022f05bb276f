"""Map of drawings from the features of any model, also of one that overflows."""

import numpy as np
import pytest

from trainer.runs.feature_map import project


def test_drawings_without_finite_features_have_no_place_and_change_no_other():
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    expected = project(features)
    odd = np.insert(features, [2, 5], [[np.inf] * 4, [1, np.nan, 0, 0]], axis=0)
    found = project(odd)
    is_odd = ~np.isfinite(odd).all(axis=1)
    assert np.isnan(found.places[is_odd]).all()
    np.testing.assert_allclose(found.places[~is_odd], expected.places, rtol=1e-6)
    assert found.variance == pytest.approx(expected.variance)


def test_no_finite_features_make_an_empty_map():
    found = project(np.full((3, 4), np.nan, np.float32))
    assert np.isnan(found.places).all()
    assert found.variance == (0.0, 0.0)


def test_a_single_feature_makes_a_line():
    found = project(np.array([[1.0], [3.0], [8.0]], np.float32))
    np.testing.assert_allclose(found.places, [[-3, 0], [-1, 0], [4, 0]], atol=1e-6)
    assert found.variance == (1.0, 0.0)
