"""From logits to log-probabilities, in double precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def log_softmax_rows(
    logits: npt.NDArray[np.float32], wanted: npt.NDArray[np.int_]
) -> tuple[list[float], list[bool]]:
    """Return for each row the log-probability (nats) of its wanted token, and if it is the best.

    ``logits``: (rows, vocabulary); ``wanted``: (rows,). log softmax(x)_k = x_k - max - log sum
    exp(x - max), the usual shift against overflow.
    """
    rows = np.arange(len(wanted))
    values = logits.astype(np.float64)
    top = values.max(axis=1)
    norm = top + np.log(np.exp(values - top[:, None]).sum(axis=1))
    picked = values[rows, wanted] - norm
    return picked.tolist(), (logits.argmax(axis=1) == wanted).tolist()
