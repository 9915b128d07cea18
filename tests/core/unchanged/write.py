"""Write anew what `tests/core/test_unchanged.py` compares with.

Run as `python -m tests.core.unchanged.write`. What then differs is what users' caches, files and
maps do not survive, unless another processor or another library alone is why.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from genptq_core.loading import load_model
from genptq_core.profile import bundled_profile, save
from genptq_core.storage.locations import cache_folder
from tests.core import unchanged


def main() -> None:
    """Write every file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["GENPTQ_CACHE"] = str(folder / "cache")
        models = (
            unchanged.tiny_whisper(folder / "models" / "whisper"),
            unchanged.tiny_ctc(folder / "models" / "ctc"),
        )
        profiles = {
            model.name: unchanged.scores_of(
                unchanged.profiled(model, folder / "profiled" / model.name)
            )
            for model in (load_model("conformer-an4"), models[0])
        }
        _write("profiles", profiles)
        tasks = {model: unchanged.tasks_of(bundled_profile(model)) for model in unchanged.BUNDLED}
        budgets = {
            model: {target: unchanged.solved(task) for target, task in of_model.items()}
            for model, of_model in tasks.items()
        }
        _write("budgets", budgets)
        exports = {
            model.name: unchanged.exported(model, folder / "exports" / model.name)
            for model in models
        }
        _write("exports", exports, recipes=unchanged.recipes())
        shipped = {model: unchanged.shipped(model) for model in unchanged.BUNDLED}
        keys = {
            model: unchanged.keys(model, folder / "keys" / model) for model in unchanged.BUNDLED
        }
        _write("shipped", shipped, keys=keys)
        _write("files", _files(folder / "files", models[1]))
        _write("cache", _cache(folder / "kept", models[1]))


def _files(folder: Path, model: Any) -> dict[str, Any]:
    profile = save(unchanged.written_profile(), folder / "profile")
    chosen, bitmap = unchanged.written_map(profile)
    digest = unchanged.written_export(folder / "export", model)
    return {
        "profile": unchanged.packed(folder / "profile"),
        "profile_holds": unchanged.content_of(profile),
        "bitmap": bitmap,
        "bitmap_digest": chosen.digest,
        "store": unchanged.written_store(folder / "store"),
        "queue": unchanged.written_queue(folder / "jobs.sqlite"),
        "export": unchanged.packed(folder / "export"),
        "export_manifest": unchanged.manifest_fields(folder / "export"),
        "export_reads_as": digest,
    }


def _cache(folder: Path, model: Any) -> dict[str, Any]:
    os.environ["GENPTQ_CACHE"] = str(folder / "cache")
    unchanged.cached(model, folder / "first", keep=True)
    unchanged.shortened()
    again = unchanged.cached(model, folder / "again")
    return {"holds": again.fields(), "files": unchanged.packed(cache_folder())}


def _write(name: str, content: Any, **more: Any) -> None:
    document = {"fingerprint": unchanged.fingerprint(), name: content, **more}
    text = json.dumps(document, indent=None, separators=(",", ":"), ensure_ascii=False)
    (unchanged.HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
