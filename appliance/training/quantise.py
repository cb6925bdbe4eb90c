"""Make a GGUF file smaller, through llama-cpp-python's own API, in the agent's environment."""

from __future__ import annotations

from appliance.core.durable import os_errors
from appliance.core.errors import ConversionFailedError, ModelUnknownError
from appliance.registry import gguf
from appliance.registry.importing import gguf_shape
from appliance.registry.manifest import GGUF_FILE
from appliance.training.service import Workshop

# Quantisation types by their usual names; the constants are llama.h's enum llama_ftype.
TYPES = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")


def quantise(shop: Workshop, content: str, kind: str) -> str:
    """Return the hash of the GGUF object ``content`` in quantisation type ``kind``.

    Raises:
        ModelUnknownError: not a whole model in GGUF form, or no such quantisation type.
        ConversionFailedError: llama.cpp said no.
    """
    if kind not in TYPES:
        raise ModelUnknownError(expected=f"one of {', '.join(TYPES)}", found=kind[:20])
    manifest = shop.models.verify(content)
    source = shop.models.gguf_path(manifest.hash)
    if gguf.read_header(source, shop.settings.registry).is_adapter:
        raise ModelUnknownError(expected="a whole model", found="a LoRA adapter")
    name = f"{kind} of {manifest.name}"[:200]
    for other in shop.models.list("gguf"):
        if other.name == name and other.links.get("full_gguf") == manifest.hash:
            return other.hash
    detail = {"type": kind}
    with (
        shop.recorder.action("models.quantise", object_id=manifest.hash, detail=detail) as act,
        shop.models.staging() as staging,
    ):
        files = staging / "files"
        with os_errors(staging):
            files.mkdir()
        _quantise(str(source), str(files / GGUF_FILE), kind)
        header = gguf.read_header(files / GGUF_FILE, shop.settings.registry)
        made = shop.models.add(
            "gguf",
            files,
            name=name,
            licence=manifest.licence,
            source="quantised on this appliance by llama.cpp",
            shape=gguf_shape(header) | {"quantisation": kind},
            links={**manifest.links, "full_gguf": manifest.hash},
            chat_template_sha256=manifest.chat_template_sha256,
        )
        act.detail["object"] = made.hash
    return made.hash


def _quantise(source: str, target: str, kind: str) -> None:
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    code = llama_cpp.llama_model_quantize(source.encode(), target.encode(), parameters)
    if code != 0:
        raise ConversionFailedError(
            expected=f"a {kind} file from llama.cpp",
            found=f"code {code}",
            remedy="Check the free space; the full GGUF file is unchanged.",
        )
