"""Settings of the ``[backup]`` table."""

from __future__ import annotations

from pydantic import Field

from appliance.core.settings.section import Section

MIB = 1 << 20


class BackupSettings(Section):
    """The ``[backup]`` table of ``appliance.toml``."""

    chunk_bytes: int = Field(
        MIB,
        ge=4096,
        le=64 * MIB,
        description="Plain bytes sealed at once. 1 MiB: AES-GCM is at full speed and an "
        "interruption costs one chunk.",
    )
    scrypt_log_n: int = Field(
        17,
        ge=10,
        le=22,
        description="log2 of scrypt's N for passphrases. 17 with r=8 takes 128 MiB and about "
        "half a second for each guess.",
    )
    scrypt_max_log_n: int = Field(
        20,
        ge=10,
        le=24,
        description="Largest log2(N) accepted from a file: 1 GiB, so that a forged header "
        "cannot exhaust the memory.",
    )
    header_max_bytes: int = Field(
        65_536, ge=1024, description="Bytes of a backup's header: room for 200 recipients."
    )
    max_recipients: int = Field(
        32, ge=1, description="Recipients of one backup: each costs a key agreement."
    )
    fsync_chunks: int = Field(
        64,
        ge=1,
        description="Chunks not yet safe on the disk at most; half of them are flushed while the "
        "other half is written. 64 MiB are written again at most after a power cut.",
    )
    exclude: tuple[str, ...] = Field(
        ("run", "bundle/versions", "bundle/staging", "bundle/current", "models/base"),
        description="Folders of the home left out: sockets and locks, and what the signed bundle "
        "brings back.",
    )
