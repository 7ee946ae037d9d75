"""The default data: handwritten digits that come with scikit-learn, so that nothing is fetched."""

from typing import Any

import numpy as np

from cnn_jax.data.dataset import Dataset


def digits() -> Dataset:
    """Return 1797 handwritten digits of 8 x 8 pixels, `float32[1797, 8, 8, 1]` in 0 to 1.

    The test part of 'Optical Recognition of Handwritten Digits' (E. Alpaydin and C. Kaynak, UCI
    Machine Learning Repository, 1998). Each pixel counts the ink in a 4 x 4 block, 0 to 16; here
    it is divided by 16.

    >>> data = digits()
    >>> data.images.dtype, float(data.images.max())
    (dtype('float32'), 1.0)
    """
    from sklearn.datasets import load_digits  # takes a second, so only where it is wanted

    source: Any = load_digits()
    return Dataset(
        images=(source.images[..., None] / 16).astype(np.float32),
        labels=source.target.astype(np.int32),
        class_names=tuple(str(name) for name in source.target_names),
    )
