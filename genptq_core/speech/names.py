"""What people call a speech set; files and keys keep the names of manifests."""

from __future__ import annotations

from .normalizers import unit_of

_KNOWN = {
    "7744975401b5e48dd5b9ec973dab47893fd6038068218ea52eca78ccab8483a0": "demo voices, synthetic",
    "1749c76ba9856042d0285f57a57c3e20501c86f5f8317425137e1bad4b5a8314": "spelled words, synthetic",
    "3ce6ca675889da55d8e8b80599edb9375156e017e23f728b7ca143380fb91f61": "LibriSpeech dev, short",
    "ec3bfa4cb0e5d03ebaa9b088113123f7ff39ec158973ee1c0bcb8abaac1adddd": "LibriSpeech dev",
    "f39deb283c4a7175653a5ec988b26e76e339946d694be8987267c2b3b48fdf91": "AN4 dev",
}
"""Sets that ship, or that models that ship were measured on, by the digest of their speech."""

_USUAL = "/manifest"


def readable(name: str, digest: str) -> str:
    """A set as people read it: by what it is where that is known, else by its folder.

    Args:
        name: what its manifest is called, with the folder: `demo/manifest`.
        digest: digest of its speech.
    """
    return _KNOWN.get(digest) or name.removesuffix(_USUAL) or name


def noted(name: str, digest: str, normalizer: str, asked: str = "") -> str:
    """The same among others' names, with a note where its rate is none of words, and of what the
    model was asked for."""
    notes = ("CER" if unit_of(normalizer) == "character" else "", asked)
    return ", ".join(filter(None, (readable(name, digest), *notes)))
