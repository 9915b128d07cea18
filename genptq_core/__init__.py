"""GenPTQ Explorer's core: sensitivities once, any budget in milliseconds, measured word errors.

Names load on first use, so solving and plotting never import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "allocation.borrowed_curve": ("BorrowedCurve",),
    "allocation.constraints": ("Constraints",),
    "allocation.front": (
        "Front",
        "predicted_front",
    ),
    "allocation.predicted_loss": (
        "QuadraticLoss",
        "quadratic_loss",
    ),
    "allocation.problem": (
        "Problem",
        "problem",
    ),
    "allocation.solving": (
        "Allocation",
        "choices_of",
        "solve",
        "solve_average_bits",
    ),
    "allocation.wer_curve": (
        "WerCurve",
        "fit_wer_curve",
        "solve_wer_increase",
    ),
    "bitmaps.bitmap": (
        "BitMap",
        "bit_map",
    ),
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
    "export.export": ("ExportResult",),
    "loading": (
        "BUNDLED",
        "load_model",
    ),
    "measurement.adapting": ("adapt",),
    "measurement.borrowing": (
        "borrowed_curve",
        "curves_of",
    ),
    "measurement.comparison": (
        "Comparison",
        "WerDifference",
        "compare",
        "wer_difference",
    ),
    "measurement.measure": (
        "measure",
        "transcribe_files",
    ),
    "measurement.next_map": (
        "Suggestion",
        "suggest_next_map",
    ),
    "measurement.predictions": ("with_predictions",),
    "measurement.records": ("Measured",),
    "measurement.speech_sets": (
        "MeasuredSet",
        "across_sets",
        "curve_of",
        "measured_sets",
        "usual_set",
    ),
    "measurement.speech_scale": (
        "Adapted",
        "SpeechScale",
        "adapted_to",
        "load_adapted",
        "scale_for",
    ),
    "measurement.store": (
        "load_measured",
        "save_measured",
    ),
    "measurement.sweep": ("measure_maps",),
    "measurement.worth_hearing": (
        "TranscriptPair",
        "worth_hearing",
    ),
    "models": (
        "SpeechModel",
        "Transcript",
    ),
    "options": (
        "RATES",
        "UNQUANTIZED",
        "Option",
        "coded_options",
        "grid_options",
    ),
    "profile": (
        "Profile",
        "Settings",
        "bundled_profile",
        "load_profile",
    ),
    "profiling.compute": (
        "ComputedProfile",
        "compute",
    ),
    "profiling.shared_gradients": ("shared_gradients",),
    "progress": (
        "Progress",
        "Report",
    ),
    "rounding.rounded": ("quantized_weights",),
    "speech.sources": ("load_speech",),
    "speech.utterances": (
        "SpeechSet",
        "Utterance",
        "load_manifest",
    ),
    "speech.wer": (
        "align",
        "normalize",
    ),
    "targets": ("TARGETS",),
    "units": ("Unit",),
    "workers.pool": ("Workers",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
