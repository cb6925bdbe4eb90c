"""Settings of the ``[hardware]`` table."""

from __future__ import annotations

from pydantic import Field

from appliance.core.settings.section import Section


class HardwareSettings(Section):
    """The ``[hardware]`` table of ``appliance.toml``."""

    profile: str = Field(
        "2x-rtx-5090",
        description="Name of a shipped profile or path of your own: what `hardware check` judges "
        "by when none is named. The default is the machine the appliance was designed for.",
    )
    command_seconds: float = Field(
        3.0,
        gt=0,
        le=60,
        description="Seconds a program (nvidia-smi, lsblk, docker) may take before it is ended: "
        "a healthy one needs under 1 s, a wedged driver never answers.",
    )
    command_max_bytes: int = Field(
        4_194_304,
        ge=4096,
        description="Bytes read from one program or file: the longest honest answer "
        "(smartctl, /proc/cpuinfo of 256 threads) is below 1 MiB.",
    )
    file_max_bytes: int = Field(
        1_048_576,
        ge=4096,
        description="Bytes of one file of a recording: real ones are below 200 KB; "
        "more is not one of ours.",
    )
    gguf_header_max_bytes: int = Field(
        268_435_456,
        ge=4096,
        description="Bytes of a GGUF header that are read: vocabularies of 256,000 tokens with "
        "merges take about 20 MB; a header that claims more is refused.",
    )
    bench_seconds: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Seconds each measurement of `hardware bench` lasts: long enough to leave "
        "the caches and turbo, short enough that the whole takes under a minute.",
    )
    bench_disk_bytes: int = Field(
        268_435_456,
        ge=1_048_576,
        description="Bytes written and flushed to measure the disk: larger than the write buffer "
        "of consumer SSD controllers' RAM, removed afterwards.",
    )
    bench_keep: int = Field(
        50,
        ge=2,
        description="Signed measurements kept: four years of monthly runs; older ones are removed.",
    )
    bench_slower_fraction: float = Field(
        0.15,
        gt=0,
        lt=1,
        description="Share by which a measurement may fall below the last one before it is called "
        "slower: repeated runs on a quiet machine differ by up to 10 %.",
    )
    watch_port: int = Field(
        9633,
        ge=0,
        le=65535,
        description="Loopback TCP port of the Prometheus metrics of `hardware watch` "
        "(0 takes a free one): above the range of well-known exporters.",
    )
    watch_seconds: float = Field(
        15.0,
        ge=1,
        le=3600,
        description="Seconds between two looks at cards and temperatures: the usual scrape "
        "interval; a throttling card shows within two looks.",
    )
    watch_slow_seconds: float = Field(
        600.0,
        ge=10,
        le=86400,
        description="Seconds between two looks at disks' own health and the clock: SMART values "
        "change over hours, and waking a disk every few seconds would wear it.",
    )
