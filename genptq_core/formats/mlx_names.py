"""Names in an MLX export: of its weights' file, and of parameters, which are OpenAI's."""

from __future__ import annotations

from ..errors import ExportError

_MODULES = {
    "self_attn_layer_norm": "attn_ln",
    "self_attn.q_proj": "attn.query",
    "self_attn.k_proj": "attn.key",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "encoder_attn.q_proj": "cross_attn.query",
    "encoder_attn.k_proj": "cross_attn.key",
    "encoder_attn.v_proj": "cross_attn.value",
    "encoder_attn.out_proj": "cross_attn.out",
    "final_layer_norm": "mlp_ln",
    "fc1": "mlp1",
    "fc2": "mlp2",
}
_ALONE = {
    "encoder.conv1": "encoder.conv1",
    "encoder.conv2": "encoder.conv2",
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln",
    "decoder.embed_tokens": "decoder.token_embedding",
}
POSITIONS = "decoder.positional_embedding"
WEIGHTS = "model.safetensors"


def mlx_name(parameter: str) -> str:
    """The name in mlx-audio of a parameter that `transformers` calls `parameter`.

    Raises:
        ExportError: Whisper has no such parameter there.
    """
    module, _, last = parameter.removeprefix("model.").rpartition(".")
    if module == "decoder.embed_positions":
        return POSITIONS
    side, _, rest = module.partition(".layers.")
    index, _, part = rest.partition(".")
    if part in _MODULES:
        return f"{side}.blocks.{index}.{_MODULES[part]}.{last}"
    if module in _ALONE:
        return f"{_ALONE[module]}.{last}"
    raise ExportError(f"mlx-audio's Whisper has no place for {parameter}.", "Use --target native.")
