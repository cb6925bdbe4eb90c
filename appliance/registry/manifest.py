"""What the registry knows about one object: its kind, its shape and where it came from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Kind = Literal["base", "adapter", "gguf"]
FOLDERS: dict[Kind, str] = {"base": "base", "adapter": "adapters", "gguf": "gguf"}
GGUF_FILE = "model.gguf"


class Manifest(BaseModel):
    """The description beside an object's files; ``hash`` covers the files, not this text.

    ``links`` names the objects this one was made from by role: ``base``, ``dataset``, ``recipe``,
    ``adapter`` (the stage before, or what a GGUF was made from), ``base_gguf``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    kind: Kind
    hash: Hash
    name: str = Field(max_length=200)
    created: str
    bytes: int = Field(ge=0)
    licence: str = Field(max_length=200)
    source: str = Field(max_length=500, description="Where it came from, in words.")
    shape: dict[str, int | float | str | None] = Field(default_factory=dict)
    links: dict[str, Hash] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    measured: dict[str, float] = Field(default_factory=dict)
    chat_template_sha256: Hash | None = None

    def summary(self) -> dict[str, Any]:
        """Return the few fields a list shows."""
        return {
            "hash": self.hash,
            "kind": self.kind,
            "name": self.name,
            "bytes": self.bytes,
            "licence": self.licence,
            "created": self.created,
        }
