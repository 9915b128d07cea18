"""Store in a profile what an exported folder takes besides its tensors, in each format.

    python -m benchmarks.overhead --profile data/profiles/whisper-tiny.en

A profile that was computed before sizes were of whole folders does not know it. Nothing is computed
again, and the profile's digest stays. Needs the packages of all formats; a format without them is
left out, and keeps what the profile says of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from genptq_core.cli.arguments import profile_folder
from genptq_core.formats.registry import overheads
from genptq_core.loading import load_model
from genptq_core.profile import load_profile, save
from genptq_core.rounding.rounded import check_model


def main() -> None:
    """Measure, store and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=profile_folder, required=True)
    parser.add_argument("--model", help="the profile's model, where it is not at its recorded name")
    options = parser.parse_args()
    profile = load_profile(options.profile)
    model = load_model(options.model or profile.source.model)
    check_model(model, profile)
    known = {**profile.source.overhead, **overheads(model)}
    source = dataclasses.replace(profile.source, overhead=known)
    save(dataclasses.replace(profile, source=source), options.profile)
    print(json.dumps(known))


if __name__ == "__main__":
    main()
