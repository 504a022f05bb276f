"""Fixtures of the trainer's tests."""

import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Directory of a small data set; three training shards, so that two hosts differ in theirs."""
    from tests.support.trainer_data import write_dataset  # imports TensorFlow

    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory, train=50, validation=23)
    return str(directory)
