"""Graphs in files: HDF5 files of Keras, which others can open too.

The newer .keras format holds the time of its writing, so the same graph would not give the same bytes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import tf_keras

from edgebuild.errors import StepError
from edgebuild.passes.graph.building import build
from edgebuild.passes.graph.ir import Graph
from edgebuild.passes.graph.reading import read


def save(graph: Graph, path: Path) -> None:
    """Write a graph as the .h5 file of a tf_keras model. The same graph gives the same bytes.

    Raises:
        StepError: the graph is not consistent, or the file cannot hold it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the format is an old one
            build(graph).save(path, save_format="h5", include_optimizer=False)
    except (OSError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise StepError(f"{path} cannot be written", str(error).splitlines()[0]) from error


def load(path: Path) -> Graph:
    """Read what `save` wrote.

    Raises:
        StepError: the file is damaged, or holds something else.
    """
    try:
        model: Any = tf_keras.models.load_model(path, compile=False)
    except (OSError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise StepError(f"{path} cannot be loaded", (str(error).splitlines() or [""])[0]) from error
    return read(model)
