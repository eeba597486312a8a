"""The labelled data and the float networks on which methods are compared.

digits: the zoo's; binary: the same images, for the wider network that is binary throughout;
mnist1d: `sequences`, which needs PyTorch and the package `mnist1d`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from bitwright.models import zoo
from bitwright.models.network import Network
from bitwright.models.zoo import digits

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

CALIBRATION = {"digits": digits.CALIBRATION_IMAGES, "mnist1d": 1000}
"""Training inputs that calibrate where nothing is trained."""


@cache
def data(task: str, validate: bool = False) -> Data:
    """Training inputs and classes, test inputs and classes.

    validate: the test data are a fifth of the training part instead, to choose settings.
    """
    if task == "mnist1d":
        import sequences

        found = sequences.load()
    else:
        split = digits.load()
        found = split.train_x, split.train_y, split.test_x, split.test_y
    if not validate:
        return found
    x, held_x, y, held_y = digits.stratified(*found[:2], len(found[0]) // 5)
    return x, y, held_x, held_y


@cache
def calibration(task: str) -> np.ndarray:
    """Some of the training inputs, every class in proportion."""
    x, y, _, _ = data(task)
    return digits.stratified(x, y, CALIBRATION[task])[1]


@cache
def floats(task: str, seed: int, validate: bool = False) -> Network:
    """The float network of a seed, which saw no test data."""
    x, y, _, _ = data(task, validate)
    if task == "mnist1d":
        import sequences

        return sequences.fit(x, y, seed)
    if task == "digits" and not validate:
        return list(zoo.networks().values())[seed].load()
    from bitwright.models.zoo import train_digits

    kind = "wide" if task == "binary" else "cnn"
    return train_digits.fit(kind, seed, x, y, train_digits.CNN).export()
