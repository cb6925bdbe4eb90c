"""The chat template: checked once, pinned by its hash, compared ever after."""

from __future__ import annotations

import json
import re
from pathlib import Path

from appliance.core.canonical import sha256_hex
from appliance.core.durable import os_errors
from appliance.core.errors import WeightsRefusedError
from appliance.core.settings.registry import RegistrySettings

TEMPLATE_FILE = "chat_template.jinja"
FORBIDDEN = re.compile(r"__|\|\s*attr\b|{%[-+]?\s*(?:import|include|from|extends)\b")
MAX_TOKENIZER_CONFIG_BYTES = 16_000_000  # added tokens of large vocabularies make it megabytes


def folder_template(folder: Path) -> str | None:
    """Return the chat template of a Hugging Face model folder, when there is one."""
    own = folder / TEMPLATE_FILE
    if own.is_file():
        with os_errors(own):
            return own.read_bytes()[:MAX_TOKENIZER_CONFIG_BYTES].decode("utf-8", "replace")
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        return None
    with os_errors(config), config.open("rb") as stream:
        data = stream.read(MAX_TOKENIZER_CONFIG_BYTES)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    template = value.get("chat_template") if isinstance(value, dict) else None
    return template if isinstance(template, str) else None


def pin_template(template: str | None, limits: RegistrySettings) -> str:
    """Return the hash that pins ``template``; refuse none, a huge one, one that reaches for code.

    A template is a Jinja program from outside that runs at every request. Double underscores are
    how CVE-2024-34359 (llama-cpp-python) left the sandbox; no real template needs them.
    """
    if not template:
        raise WeightsRefusedError(expected="a chat template in the model's tokenizer", found="none")
    data = template.encode()
    if len(data) > limits.max_template_bytes:
        raise WeightsRefusedError(
            expected=f"a chat template of at most {limits.max_template_bytes} bytes",
            found=f"{len(data)} bytes",
        )
    if FORBIDDEN.search(template):
        raise WeightsRefusedError(
            expected="a chat template that only lays out messages",
            found="access to Python internals (see CVE-2024-34359)",
        )
    return sha256_hex(data)
