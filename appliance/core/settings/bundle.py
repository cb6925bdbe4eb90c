"""Settings of the ``[bundle]`` table."""

from __future__ import annotations

from pydantic import Field

from appliance.core.settings.section import Section

MIB = 1 << 20
FAT32_LIMIT = (1 << 32) - 1


class BundleSettings(Section):
    """The ``[bundle]`` table of ``appliance.toml``."""

    chunk_bytes: int = Field(
        64 * MIB,
        ge=4096,
        le=FAT32_LIMIT,
        description="Bytes in a chunk file. 64 MiB: a bad block costs one short copy, a 40 GB "
        "model needs 600 entries, and every file stays far under FAT32's 4 GiB - 1.",
    )
    image_chunk_bytes: int = Field(
        MIB // 4,
        ge=4096,
        le=FAT32_LIMIT,
        description="Bytes in a chunk file of an image archive. 256 KiB: a change of code touches "
        "the last two megabytes of each image, and a difference bundle carries little more; 4 GB "
        "of CUDA images still need less than 2 MB of signed metadata.",
    )
    buffer_bytes: int = Field(
        MIB,
        ge=4096,
        le=64 * MIB,
        description="Bytes a reader holds at once. 1 MiB: larger gains nothing over the page "
        "cache, and memory stays small for any bundle.",
    )
    workers: int = Field(
        2,
        ge=1,
        le=64,
        description="Threads that hash. 2: the smallest supported machine has two cores, and a "
        "USB stick is slower than one.",
    )
    root_max_bytes: int = Field(
        512_000, ge=1024, description="Bytes of a root file: TUF's own cap against endless data."
    )
    timestamp_max_bytes: int = Field(
        16_384, ge=1024, description="Bytes of timestamp.json: TUF's own cap."
    )
    snapshot_max_bytes: int = Field(
        2_000_000, ge=1024, description="Bytes of a snapshot file: TUF's own cap."
    )
    targets_max_bytes: int = Field(
        5_000_000,
        ge=1024,
        description="Bytes of a targets file: TUF's own cap; some 20,000 files fit.",
    )
    max_root_rotations: int = Field(
        256, ge=1, description="Root versions followed at once: TUF's own cap."
    )
    manifest_max_bytes: int = Field(
        16 * MIB,
        ge=1024,
        description="Bytes of bundle.json and of an SBOM read into memory: 20,000 entries fit.",
    )
    max_unlisted: int = Field(
        100,
        ge=1,
        description="Unlisted files named before verify stops listing: a medium full of "
        "strangers is refused either way.",
    )
    tolerated_names: tuple[str, ...] = Field(
        (
            "lost+found",
            "System Volume Information",
            "$RECYCLE.BIN",
            ".Trash-1000",
            ".Trashes",
            ".Spotlight-V100",
            ".fseventsd",
        ),
        description="Top-level folders that operating systems make on their own when a medium "
        "is plugged in. They are named in the report, never read, never used.",
    )
    keep_versions: int = Field(
        3,
        ge=2,
        le=20,
        description="Versions kept on disk. 3: the current one, the one before it, and one more "
        "for a fault found late.",
    )
    space_factor: float = Field(
        2.0,
        ge=1.0,
        description="Free space wanted, times the bundle's size. 2: staging plus what activation "
        "unpacks.",
    )
    space_reserve_bytes: int = Field(
        64 * MIB,
        ge=0,
        description="Bytes that stay free in any case: the audit log must be able to write.",
    )
    engine_folder: str = Field(
        "/var/lib/docker",
        description="Where Docker unpacks images (its data-root): preflight asks for space there.",
    )
    image_space_factor: float = Field(
        4.0,
        ge=1.0,
        description="Free space wanted there, times the image archives' size. 4: layers unpack to "
        "three to three and a half times their packed bytes.",
    )
    require_attested_date: bool = Field(
        True,  # noqa: FBT003 - pydantic's default is positional
        description="Install and update want --date. On: a machine without a network has no "
        "other witness against a frozen or set-back clock.",
    )
    clock_skew_days: int = Field(
        1,
        ge=0,
        le=30,
        description="Days the attested date may differ from the machine's clock: time zones.",
    )
    health_timeout_s: float = Field(
        180.0,
        gt=0,
        description="Seconds one health check may take before the version counts as unhealthy and "
        "is taken back. 180: the checks take 3 s on two busy cores, and many times that under "
        "emulation or while the disk is written to; a good version is not to be lost to that.",
    )
    restart_timeout_s: float = Field(
        1200.0,
        gt=0,
        description="Seconds the units may take to come up again after a change of version: the "
        "services have 900 s (a large model is read from the disk), and first they stop.",
    )
    activation_timeout_s: float = Field(
        1800.0,
        gt=0,
        description="Seconds one activation step may take: installing 200 wheels on a slow disk.",
    )
    unpack_max_bytes: int = Field(
        8 << 30,
        ge=1024,
        description="Bytes one archive may unpack to: eight times the largest collection archive.",
    )
    unpack_max_ratio: int = Field(
        200,
        ge=2,
        description="Unpacked bytes a packed byte may give: text compresses 10 to 50 times, a "
        "decompression bomb 1,000 times.",
    )
    unpack_max_members: int = Field(
        200_000, ge=1, description="Members of one archive: the Ansible collections have 60,000."
    )
    timestamp_days: int = Field(
        180,
        ge=1,
        description="Days a new bundle's timestamp stays valid: media travel by post, and a "
        "hospital updates twice a year.",
    )
    metadata_days: int = Field(
        365, ge=1, description="Days new targets and snapshot metadata stay valid: one year."
    )
    root_days: int = Field(
        1825,
        ge=1,
        description="Days a new root stays valid: five years, the life of the machine.",
    )
