"""Runtime configurations, followed to the letter by the quantizers that they are for, and decoded.

    pip install -r requirements-bench.txt
    python -m benchmarks.runtime_configs --profile data/profiles/whisper-tiny.en --stored-bits 4.3

The map is solved for integers; its configuration is written to a file as `export` writes it, and
that file alone tells HQQ and torchao what to do with the model's layers. They round by their own
methods, so the WER is theirs too; what is tested is that a configuration is accepted as it is, and
for which layers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genptq_core import bit_map, load_manifest, load_model, load_profile, problem, solve
from genptq_core.export.runtime_configs import NAME, RUNTIME_CONFIGS, export_runtime_config
from genptq_core.measurement.measure import transcribe_files
from genptq_core.profile import of_weights
from genptq_core.speech.wer import count_errors

Configuration = dict[str, dict[str, Any]]


def hqq(module: nn.Module, configuration: Configuration) -> int:
    """Replace each named layer; returns how many hold codes now."""
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    for name, settings in configuration.items():
        parent = module.get_submodule(name.rpartition(".")[0])
        layer = HQQLinear(
            module.get_submodule(name),
            BaseQuantizeConfig(**settings),
            compute_dtype=torch.float32,
            device="cpu",
        )
        setattr(parent, name.rpartition(".")[2], layer)
    return sum(isinstance(m, HQQLinear) for m in module.modules())


def torchao(module: nn.Module, configuration: Configuration) -> int:
    """Quantize each named layer in place; returns how many hold codes now."""
    from torchao.quantization import (
        FqnToConfig,
        IntxWeightOnlyConfig,
        MappingType,
        PerGroup,
        quantize_,
    )

    kinds: dict[str, Any] = {
        name: IntxWeightOnlyConfig(
            weight_dtype=getattr(torch, settings["weight_dtype"]),
            granularity=PerGroup(settings["granularity"]["PerGroup"]),
            mapping_type=MappingType[settings["mapping_type"]],
        )
        for name, settings in configuration.items()
    }
    quantize_(module, FqnToConfig(kinds), filter_fn=None)
    return sum(
        type(m.weight.data) is not torch.Tensor
        for m in module.modules()
        if isinstance(m, nn.Linear)
    )


RUNTIMES: dict[str, tuple[str, Callable[[nn.Module, Configuration], int]]] = {
    "hqq": ("hqq", hqq),
    "torchao": ("torchao", torchao),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, default=Path("data/profiles/whisper-tiny.en"))
    parser.add_argument("--speech", type=Path, default=Path("data/speech/demo/manifest.jsonl"))
    parser.add_argument("--stored-bits", type=float, default=4.3)
    options = parser.parse_args()
    profile = of_weights(load_profile(options.profile))
    speech = load_manifest(options.speech)
    references = [u.text for u in speech.utterances]
    budget = int(options.stored_bits * profile.source.parameters / 8)
    chosen = bit_map(profile, solve(problem(profile, target="integer"), budget).options)
    full = count_errors(references, transcribe_files(load_model(profile.source.model), speech))
    print(f"{len(speech)} utterances; full precision {100 * full.wer:.2f} % WER", flush=True)
    for name, (package, follow) in RUNTIMES.items():
        with tempfile.TemporaryDirectory() as folder:
            export_runtime_config(profile, chosen, name, Path(folder) / "out")
            written = json.loads((Path(folder) / "out" / NAME).read_text(encoding="utf-8"))
        model = load_model(profile.source.model)
        held = follow(model.module, written["configuration"])
        wer = count_errors(references, transcribe_files(model, speech)).wer
        print(
            f"{RUNTIME_CONFIGS[name].title} ({package} {version(package)}): {held} layers of "
            f"{len(written['configuration'])} named, {100 * wer:.2f} % WER",
            flush=True,
        )


if __name__ == "__main__":
    main()
