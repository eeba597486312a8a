"""Handwritten digits: 1,797 real images of 8 x 8 pixels from 0 to 16, shipped with scikit-learn.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998 (the test part, as `sklearn.datasets.load_digits` gives it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..fixed import Ints, ProgramError

try:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError:  # an optional extra, asked for by `load` alone
    load_digits = train_test_split = None

CLASSES = 10
PIXELS_MAX = 16
INPUT_SHAPE = (8, 8, 1)
TEST_IMAGES = 450
CALIBRATION_IMAGES = 300


@dataclass(frozen=True, eq=False)
class Split:
    """Images (N, 8, 8, 1) of integers 0..16 and labels (N,) of 0..9.

    `calibration_x` are images of the training part (their labels are not used); no training or
    calibration image is among the test images.
    """

    train_x: Ints
    train_y: Ints
    calibration_x: Ints
    test_x: Ints
    test_y: Ints


def load() -> Split:
    """Return the one fixed split: 1,347 training images (300 for calibration), 450 test images."""
    if load_digits is None or train_test_split is None:
        raise ProgramError(
            "the digits come with scikit-learn, which is not installed; run "
            "pip install 'bitwright[demo]'"
        )
    images, labels = cast(tuple[Any, Any], load_digits(return_X_y=True))
    x, y = images.astype(np.int64).reshape(-1, *INPUT_SHAPE), labels.astype(np.int64)
    train_x, test_x, train_y, test_y = stratified(x, y, TEST_IMAGES)
    _, calibration_x, _, _ = stratified(train_x, train_y, CALIBRATION_IMAGES)
    return Split(train_x, train_y, calibration_x, test_x, test_y)


def stratified(x: NDArray[Any], y: NDArray[Any], count: int) -> list[NDArray[Any]]:
    """Split off `count` images with every class in proportion: rest_x, part_x, rest_y, part_y."""
    assert train_test_split is not None, "load() reports a missing scikit-learn"
    parts = train_test_split(x, y, test_size=count, stratify=y, random_state=0)
    return cast(list[NDArray[Any]], parts)
