"""Changes of training samples that keep what they show, for [train] augment: (batch, generator) -> batch."""

from __future__ import annotations

import numpy as np

_FRAMES = 3
_HIDDEN_FRAMES = 5
_NOISE = 0.05


def shift_images(x: np.ndarray, rng: np.random.Generator, pixels: int = 2) -> np.ndarray:
    """[batch, height, width, channels] or [batch, height, width], each moved by up to `pixels`; zeros come in."""
    edges = [(0, 0), (pixels, pixels), (pixels, pixels), *[(0, 0)] * (x.ndim - 3)]
    padded = np.pad(x, edges)
    down, right = rng.integers(0, 2 * pixels + 1, (2, len(x), 1))
    rows, columns = down + np.arange(x.shape[1]), right + np.arange(x.shape[2])
    return padded[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]


def nudge_images(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As `shift_images`, by up to one pixel: dense networks must learn each place anew."""
    return shift_images(x, rng, 1)


def vary_speech(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[batch, frames, coefficients, 1]: moved in time, a stretch of it hidden, a little noise, every second one mixed.

    Mixing is mixup (Zhang et al. 2018), with teachers' answers in place of mixed labels.
    """
    count, frames = x.shape[:2]
    places = np.arange(frames) + rng.integers(-_FRAMES, _FRAMES + 1, (count, 1))
    x = x[np.arange(count)[:, None], places.clip(0, frames - 1)]
    start = rng.integers(0, frames, (count, 1))
    length = rng.integers(0, _HIDDEN_FRAMES + 1, (count, 1)) * (rng.random((count, 1)) < 0.5)
    hidden = (np.arange(frames) >= start) & (np.arange(frames) < start + length)
    x = np.where(hidden[:, :, None, None], x.mean(axis=1, keepdims=True), x)
    x = x + rng.normal(0, _NOISE * x.std(), x.shape)
    share = np.where(rng.random((count, 1, 1, 1)) < 0.5, rng.beta(0.5, 0.5, (count, 1, 1, 1)), 1.0)
    return (share * x + (1 - share) * x[rng.permutation(count)]).astype(np.float32)
