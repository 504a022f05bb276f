"""Trials of the recipe: what each changes."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from benchmarks.trials import TRIALS, Drawings, Trial, batches, build, mix
from tests.support.ndjson import line
from tests.support.warm_process import run_module

SEED = tf.constant([0, 1], tf.int64)
# None that trains otherwise leaves the model as it is, and the reverse.
OF_THE_MODEL = {
    *("SiLU", "squeeze-and-excitation", "blocks begin as identities", "dropout 0.3"),
    *("first kernel 5×5", "Inception-ResNet blocks"),
}


def test_each_trial_changes_one_thing():
    usual = Trial()
    for name, trial in TRIALS.items():
        changed = {field for field, value in vars(trial).items() if value != getattr(usual, field)}
        changed -= {"learning_rate"} if "batch_size" in changed else set()
        assert len(changed) == (name != "none"), name
        assert (changed <= {"architecture", "replace"}) == (name in OF_THE_MODEL | {"none"})


def test_a_change_of_the_model_is_in_it():
    models = {}
    for name in ("none", *OF_THE_MODEL):
        keras.backend.clear_session(free_memory=False)  # the same names of layers
        layers = build(TRIALS[name], 3).layers
        models[name] = [(type(layer), layer.get_config()) for layer in layers]
    usual = models.pop("none")
    assert models.keys() == OF_THE_MODEL
    assert all(model != usual for model in models.values())


def test_mixed_targets_have_the_share_of_the_pixels():
    images = tf.concat([tf.ones((1, 85, 85, 1)), tf.zeros((1, 85, 85, 1))], 0)
    for kind in ("mixup", "cutmix"):
        mixed, targets = mix(kind, images, tf.eye(2), SEED)
        share = mixed[0].numpy().mean()
        assert 0 < share < 1
        np.testing.assert_allclose(targets, [[share, 1 - share], [1 - share, share]], atol=1e-5)


def test_a_drawing_is_mirrored_in_every_other_epoch():
    bitmaps = np.zeros((4, 85, 85), np.uint8)
    bitmaps[:, :, 0] = 1
    drawings = Drawings(bitmaps, np.arange(4))
    trial = Trial(batch_size=4, alternates_mirror=True)
    seen = []
    for batch, classes, epoch in itertools.islice(batches(drawings, trial, seed=0), 3):
        assert epoch == len(seen)
        seen.append(batch[np.argsort(classes), 0, 0])  # 1: as it was drawn
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[0] + seen[1], np.ones(4))


def test_fewer_drawings_than_a_batch_are_refused(tmp_path):
    for start, name in enumerate(("cat", "sun")):
        lines = "\n".join(line(name, n) for n in range(6 * start, 6 * start + 6))
        (tmp_path / f"{name}.ndjson").write_text(lines, encoding="utf-8")
    done = run_module(
        "benchmarks.trials",
        [
            *(f"--input={tmp_path}/*.ndjson", f"--output={tmp_path}", "--trials=none,cutmix"),
            *("--train_per_category=4", "--validation_per_category=2"),
        ],
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == ("error: 8 training drawings, fewer than a batch of 100")
