"""Settings of the ``[audit]`` table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appliance.core.settings.section import Section


class AuditSettings(Section):
    """The ``[audit]`` table of ``appliance.toml``."""

    # The writer
    checkpoint_interval_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Seconds from a durable entry to the signed checkpoint that covers it; 1 s "
        "keeps the promise of 2 s with room for a slow disk.",
    )
    pending_bytes: int = Field(
        default=32 << 20,
        ge=1 << 20,
        description="Bytes received but not yet durable at most, then the writer stops reading; "
        "32 MiB bounds the memory whatever the producers do.",
    )
    peers: int = Field(
        default=256,
        ge=1,
        description="Connections at one time; a hospital's components are a few dozen.",
    )
    batch_entries: int = Field(
        default=1024,
        ge=1,
        le=65_536,
        description="Entries in one request at most; more would hold up the other producers.",
    )
    allowed_uids: list[int] = Field(
        default_factory=list,
        description="User ids that may write besides root and the writer's own.",
    )
    components: dict[str, list[str]] = Field(
        default_factory=dict,
        description="User id (as text) to the components it may name; a user id that is not "
        "listed may name any but the writer's own. Bounds what a taken-over component can forge.",
    )
    wal_segment_bytes: int = Field(
        default=8 << 20,
        ge=1 << 20,
        description="Bytes of a write-ahead segment before the next begins; two of 8 MiB hold "
        "some 25,000 entries, which replay in a fraction of a second.",
    )
    idle_exit_s: float = Field(
        default=15.0,
        ge=0,
        description="Seconds without a peer after which a writer started on demand leaves; 0 "
        "means never. A pipeline keeps its connection, so 15 s only bridge two commands; as a "
        "service the writer stays.",
    )
    start_timeout_s: float = Field(
        default=20.0,
        gt=0,
        description="Seconds a client waits for the writer it started; replaying a large "
        "write-ahead file on a slow disk takes some.",
    )
    reply_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds a client waits for durability before it calls the log unavailable; "
        "a disk that needs longer for one flush is failing.",
    )
    reserve_bytes: int = Field(
        default=4 << 20,
        ge=1 << 16,
        description="Bytes kept back in a file so that the stop can be logged, tiled and signed "
        "when the disk is full; a stop needs well under 1 MiB.",
    )
    clock_back_ms: int = Field(
        default=1000,
        ge=0,
        description="Milliseconds the clock may go back before the log says so; time "
        "synchronisation slews smaller steps.",
    )
    open_intents: int = Field(
        default=100_000,
        ge=1,
        description="Intents without outcome kept in memory at most (about 200 bytes each).",
    )

    # The key
    key: Literal["file", "pkcs11", "tpm2"] = Field(
        default="file",
        description="Where the signing key lives: a file (demo), an HSM, or a file that only "
        "this machine's TPM 2 opens.",
    )
    pkcs11_module: str = Field(
        default="", description="Path of the HSM's PKCS#11 library; no default, makers differ."
    )
    pkcs11_token: str = Field(default="appliance-audit", description="Label of the HSM's token.")
    pkcs11_pin_file: str = Field(
        default="",
        description="File (mode 0600) with the token's PIN; never in this file, which is backed "
        "up in the clear.",
    )
    tpm2_tcti: str = Field(
        default="", description="TPM connection string for tpm2-tools; empty is the machine's own."
    )
    tpm2_pcrs: str = Field(
        default="",
        pattern=r"^(sha256:[0-9]+(,[0-9]+)*)?$",
        description="Boot-state registers the key is sealed to, like sha256:7; empty by default, "
        "because a firmware update changes them and the log then cannot be signed.",
    )
    start_on_demand: bool = Field(
        default=True,
        description="Whether a client that finds no writer starts one. Set to false where a "
        "service runs it under a user of its own.",
    )
    origin: str = Field(
        default="hospital-appliance/audit",
        pattern=r"^[a-z0-9][a-z0-9._/-]{2,80}$",
        description="Name of the log in checkpoints; each shard adds its number.",
    )

    # Verification and search
    verify_processes: int = Field(
        default=0,
        ge=0,
        description="Processes of a full verification; 0 means one a processor.",
    )
    search_rows: int = Field(
        default=1000,
        ge=1,
        description="Rows of one search at most; a page on a screen shows fewer.",
    )

    # Evidence, witnesses, retention
    evidence_entries: int = Field(
        default=500_000,
        ge=1,
        description="Entries of one evidence file at most; half a million are about 300 MB and a "
        "minute for the verifier. Longer periods are asked for in pieces.",
    )
    evidence_proofs: int = Field(
        default=1000,
        ge=0,
        description="Single proofs (tlog-proof) added to evidence that proves a whole range; each "
        "is about 1.5 kB and the range proof covers the rest.",
    )
    witness_stale_hours: float = Field(
        default=168.0,
        gt=0,
        description="Hours after which a witness's last signature counts as stale; a week is the "
        "round of a compliance officer.",
    )
    retention_years: int = Field(
        default=6,
        ge=6,
        le=20,
        description="Years an entry is kept. HIPAA asks six of its documentation, Lei 13.787 "
        "twenty of records; the EU AI Act's six months are far below both.",
    )
