"""GenPTQ Explorer's core: sensitivities once, any budget in milliseconds, measured word errors.

Names load on first use, so solving and plotting never import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "allocation": (
        "Allocation",
        "Problem",
        "choices_of",
        "problem",
        "solve",
        "solve_average_bits",
    ),
    "bitmap": ("BitMap", "bit_map"),
    "comparison": ("Comparison", "WerDifference", "compare", "wer_difference"),
    "constraints": ("Constraints",),
    "corpora": ("load_speech",),
    "errors": (
        "BitMapError",
        "ClusterError",
        "ConstraintError",
        "ExportError",
        "GenPTQError",
        "InfeasibleError",
        "ModelError",
        "ProfileError",
        "SpeechError",
        "StoreError",
    ),
    "export": ("ExportResult",),
    "front": (
        "Front",
        "WerCurve",
        "fit_wer_curve",
        "predicted_front",
        "solve_wer_increase",
        "wer_curve",
    ),
    "listening": ("Heard", "heard"),
    "measurement": ("measure", "quantized_weights", "transcribe_files"),
    "models": ("BUNDLED", "SpeechModel", "Transcript", "load_model"),
    "options": ("RATES", "UNQUANTIZED", "Option", "coded_options", "grid_options"),
    "prediction": ("QuadraticLoss", "quadratic_loss", "with_predictions"),
    "profile": ("Profile", "Settings", "bundled_profile", "load_profile"),
    "progress": ("Progress", "Report"),
    "sensitivity": ("Outcome", "compute"),
    "sets": ("MeasuredSet", "across_sets", "measured_sets"),
    "sharing": ("sharing",),
    "speech": ("SpeechSet", "Utterance", "load_manifest"),
    "store": ("Measured", "load_measured", "save_measured"),
    "sweep": ("measure_maps",),
    "targets": ("TARGETS",),
    "teaching": ("Lesson", "most_teaching"),
    "units": ("Unit",),
    "wer": ("align", "normalize"),
    "workers": ("Workers",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
