"""Settings of the ``[datasets]`` table."""

from __future__ import annotations

from pydantic import Field

from appliance.core.settings.section import Section


class DatasetsSettings(Section):
    """The ``[datasets]`` table of ``appliance.toml``."""

    line_bytes: int = Field(
        default=8 << 20,
        ge=1 << 10,
        description="Bytes of one line. The longest real record seen is under 1 MiB; eight times "
        "that keeps memory bounded when a file has lost its line ends.",
    )
    document_bytes: int = Field(
        default=128 << 20,
        ge=1 << 10,
        description="Bytes of a JSON document, table or note that must be read whole. Parsed it "
        "takes about five times that, which fits the 3 GiB the pipeline may use.",
    )
    field_characters: int = Field(
        default=1_000_000,
        ge=1_000,
        description="Characters of one text field: the language tools stop at a million.",
    )
    files: int = Field(
        default=100_000,
        ge=1,
        description="Files in a folder of notes: more are better joined as JSONL, because each "
        "file is named in the manifest.",
    )
    refusals_kept: int = Field(
        default=1_000,
        ge=1,
        description="Refused records listed in the manifest; all are counted. A person corrects "
        "a thousand by fixing the export, not one by one.",
    )
    validation_share: float = Field(
        default=0.15,
        gt=0,
        lt=0.5,
        description="Share of the groups for validation: 15 to 20 % is good practice.",
    )
    test_share: float = Field(
        default=0.15,
        gt=0,
        lt=0.5,
        description="Share of the groups held out until the final evaluation, as for validation.",
    )
    split_seed: int = Field(
        default=20260101,
        ge=0,
        description="Seed of the split. Any fixed number will do; it is part of the hash.",
    )
    near_duplicate_similarity: float = Field(
        default=0.8,
        gt=0.3,
        le=1.0,
        description="Jaccard similarity of word 3-shingles from which two texts count as the "
        "same: 0.8 is the value used for web corpora (Lee et al. 2022).",
    )
    minhash_permutations: int = Field(
        default=64,
        ge=16,
        le=256,
        description="Permutations of a MinHash signature: 64 gives a standard error of 0.05 at "
        "0.8; candidates are verified exactly, so more would only cost time.",
    )
