"""Models as other programs store them: told by their first bytes and endings, to say what to do."""

from __future__ import annotations

from pathlib import Path

_HUB = (
    "This program needs the folder of a transformers model, with config.json and "
    "model.safetensors, or its hub name, like openai/whisper-small."
)

_HEADS = (
    (b"lmgg", "a ggml file, as whisper.cpp reads it"),
    (b"fjgg", "a ggml file, as whisper.cpp reads it"),
    (b"tjgg", "a ggml file, as whisper.cpp reads it"),
    (b"GGUF", "a GGUF file, as whisper.cpp or llama.cpp reads it"),
    (b"\x80\x02", "a pickle of PyTorch, which could run anything when it is read"),
    (b"\x89HDF", "an HDF5 file of Keras"),
)
"""First bytes, and what they show."""

_ENDINGS = {
    ".gguf": "a GGUF file, as whisper.cpp or llama.cpp reads it",
    ".onnx": "a model of ONNX Runtime",
    ".ort": "a model of ONNX Runtime",
    ".pt": "a checkpoint of PyTorch, which could run anything when it is read",
    ".pth": "a checkpoint of PyTorch, which could run anything when it is read",
    ".ckpt": "a checkpoint of PyTorch, which could run anything when it is read",
    ".bin": "a checkpoint without its settings",
    ".nemo": "an archive of NVIDIA NeMo",
    ".mlmodel": "a model of Core ML",
    ".mlpackage": "a model of Core ML",
    ".mlmodelc": "a model of Core ML",
    ".tflite": "a model of TensorFlow Lite",
    ".h5": "an HDF5 file of Keras",
    ".npz": "weights of MLX or NumPy",
    ".zip": "an archive",
    ".tar": "an archive",
    ".gz": "an archive",
    ".tgz": "an archive",
}
"""Endings of names, and what they show."""

_OF_FOLDER = ("config.json", "model.safetensors.index.json", "pytorch_model.bin", "export.json")


def described(path: Path) -> tuple[str, str] | None:
    """What a path holds that is no folder of a model, and what to do.

    Args:
        path: an existing file, folder, device or pipe.

    Returns:
        A clause and a hint; None for a folder that may be a model's.

    Raises:
        OSError: it cannot be looked at.
    """
    ending = path.suffix.lower()
    if path.is_dir():
        if ending in _ENDINGS and not (path / "config.json").exists():
            return _ENDINGS[ending], _HUB
        return None
    if not path.is_file():
        return "a device or a pipe", _HUB
    if ending == ".safetensors" or path.name in _OF_FOLDER:
        return "a file of a model's folder", f"Give the folder: {path.parent}."
    with path.open("rb") as handle:
        head = handle.read(4)
    by_head = next((what for start, what in _HEADS if head.startswith(start)), None)
    return by_head or _ENDINGS.get(ending, "a file"), _HUB
