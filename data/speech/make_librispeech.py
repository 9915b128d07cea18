"""Choose the real voices that ship from Mini LibriSpeech's dev split, by a fixed rule.

    python data/speech/make_librispeech.py --source librispeech-mini/dev.jsonl

Of each speaker the two shortest utterances of 3 seconds or more, ties by name. The recordings are
copied as they are, to the byte. `--source` is a manifest of the split: one JSON object a line, with
`audio` (relative to the manifest), `text`, `duration` in seconds and `speaker`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EACH = 2
LEAST_S = 3.0


def chosen(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that ship, by speaker and name."""
    by_speaker: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["duration"] >= LEAST_S:
            by_speaker.setdefault(row["speaker"], []).append(row)
    picked = [
        row
        for spoken in by_speaker.values()
        for row in sorted(spoken, key=lambda row: (row["duration"], row["audio"]))[:EACH]
    ]
    return sorted(picked, key=lambda row: (int(row["speaker"]), row["audio"]))


def main() -> None:
    """Copy the recordings and write their manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "librispeech")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.source.read_text(encoding="utf-8").splitlines()]
    (options.out / "audio").mkdir(parents=True, exist_ok=True)
    lines = []
    for row in chosen(rows):
        name = f"audio/{Path(row['audio']).name}"
        shutil.copyfile(options.source.parent / row["audio"], options.out / name)
        lines.append(json.dumps({**row, "audio": name}) + "\n")
    (options.out / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{options.out}: {len(lines)} utterances")


if __name__ == "__main__":
    main()
