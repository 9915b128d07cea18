"""Paths: of the data that ships, and in the cache of what can be computed again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

_PACKAGE = Path(__file__).resolve().parent.parent

TENSOR_FOLDERS = ("work", "baselines", "compiled", "shards", "kept")
"""Folders of the cache that hold tensors, which are computed again if they are damaged."""

OWN_FOLDERS = (*TENSOR_FOLDERS, "measured", "adapted", "speech", "uploads", "exports")
"""Every folder that the program makes in the cache; what else is there belongs to others."""


def data_folder() -> Path:
    """The data that ships: inside the installed package, or in the repository."""
    inside = _PACKAGE / "data"
    return inside if inside.is_dir() else _PACKAGE.parent / "data"


def bundled_profiles() -> Path:
    """Folder of the profiles that ship."""
    return data_folder() / "profiles"


def bundled_models() -> Path:
    """Folder of the models that ship."""
    return data_folder() / "models"


def bundled_speech() -> Path:
    """Folder of the speech sets that ship."""
    return data_folder() / "speech"


def cache_folder() -> Path:
    """The folder for what can be computed again: `$GENPTQ_CACHE`, else the user's cache folder.

    A relative one is from the folder where the program was started: it is made absolute when first
    asked for, in the environment too, so that processes started later mean the same.
    """
    named = os.environ.get("GENPTQ_CACHE")
    if named:
        if not os.path.isabs(named):
            os.environ["GENPTQ_CACHE"] = named = os.path.abspath(named)
        return Path(named)
    try:
        return user_cache_path("genptq", appauthor=False)
    except RuntimeError:  # the user has no home folder
        return Path(tempfile.gettempdir()) / "genptq"


def workspace_folder(key: str) -> Path:
    """Folder of the intermediate results of one profile."""
    return cache_folder() / "work" / key[:32]


def baseline_file(key: str) -> Path:
    """Full precision's transcripts and head inputs for some recordings."""
    return cache_folder() / "baselines" / f"{key[:32]}.safetensors"


def compiled_folder(key: str) -> Path:
    """Folder of the intermediate results of compiling one map."""
    return cache_folder() / "compiled" / key[:32]


def shard_file(key: str) -> Path:
    """Results of one map on one shard of a speech set."""
    return cache_folder() / "shards" / key[:2] / f"{key[:32]}.safetensors"


def kept_weights_file() -> Path:
    """Rounded weights of the map that was used last."""
    return cache_folder() / "kept" / "weights.safetensors"


def measured_file(profile_digest: str) -> Path:
    """Measurements of a profile whose own folder is read-only."""
    return cache_folder() / "measured" / f"{profile_digest}.sqlite"


def adapted_folder(profile_digest: str) -> Path:
    """What kinds of speech lose, of a profile whose own folder is read-only."""
    return cache_folder() / "adapted" / profile_digest[:32]


def recording_file(digest: str, suffix: str) -> Path:
    """A recording that a data set holds as bytes in a table."""
    return cache_folder() / "speech" / f"{digest}{suffix}"


def job_queue_file() -> Path:
    """The page's queue of jobs."""
    return cache_folder() / "jobs.sqlite"


def uploads_folder() -> Path:
    """Recordings that users uploaded on the page."""
    return cache_folder() / "uploads"


def exports_folder() -> Path:
    """Exports made on the page."""
    return cache_folder() / "exports"
