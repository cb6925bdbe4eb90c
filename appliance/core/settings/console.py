"""Settings of the ``[console]`` table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from appliance.core.settings.section import Section

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ConsoleSettings(Section):
    """The ``[console]`` table of ``appliance.toml``."""

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; beyond loopback only with TLS, since passwords pass.",
    )
    port: int = Field(8443, ge=0, le=65_535, description="TCP port; 0 takes a free one.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names accepted in the Host header besides loopback and the address listened "
        "on; a foreign name is how a web page reaches a local service (DNS rebinding).",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file with the certificate chain; needed to listen beyond loopback."
    )
    tls_key: Path | None = Field(None, description="PEM file with the private key.")
    language: Literal["pt-BR", "en"] = Field(
        "pt-BR", description="Language of a browser that has not chosen one: the hospital's."
    )
    timezone: str = Field(
        "America/Sao_Paulo",
        description="Zone in which times are shown and days begin; the log itself is in UTC.",
    )
    max_body_bytes: int = Field(
        262_144,
        ge=4096,
        description="Bytes of a request; the largest is a witness's answer of some kB.",
    )

    # Accounts and sessions
    password_min_chars: int = Field(
        12, ge=8, description="Characters of a password at least (NIST SP 800-63B asks 8 with MFA)."
    )
    password_max_chars: int = Field(
        256, ge=64, description="Characters of a password at most; bounds the work of argon2."
    )
    lockout_failures: int = Field(
        5, ge=2, le=100, description="Failed log-ins in a row before an account waits."
    )
    lockout_minutes: float = Field(
        15.0, gt=0, description="Minutes an account waits after those failures."
    )
    logins_per_minute: int = Field(
        30,
        ge=5,
        description="Log-in attempts of all accounts in a minute; more are answered with 429. "
        "Each costs an argon2 computation of 64 MiB.",
    )
    idle_minutes: float = Field(
        15.0, gt=0, description="Minutes without a request that end a session (OWASP: 15 to 30)."
    )
    session_hours: float = Field(
        10.0, gt=0, description="Hours that end a session in any case; one long shift."
    )
    sessions_per_user: int = Field(
        3, ge=1, description="Sessions of one account; the oldest ends when another begins."
    )
    invitation_hours: float = Field(
        72.0, gt=0, description="Hours an invitation to enrol is good for; a weekend."
    )

    # What is shown
    page_rows: int = Field(50, ge=5, le=500, description="Rows of a page; a screen and a half.")
    queue_days: int = Field(
        90, ge=1, description="Days back the queues look; older open items are found by search."
    )
    queue_rows: int = Field(
        5000, ge=10, description="Open items a queue counts at most; more are shown as that many."
    )
    chart_days: int = Field(14, ge=2, le=60, description="Days in the chart; two weeks compare.")
    verify_stale_hours: float = Field(
        24.0, gt=0, description="Hours after which the last verification counts as old; a day."
    )
    verify_timeout_s: float = Field(
        3600.0, gt=0, description="Seconds a verification may take; 1 M entries take 30."
    )
    export_days: int = Field(
        366, ge=1, description="Days of one evidence file at most; a year is asked for at once."
    )

    # Flags
    flag_days: int = Field(
        7, ge=1, le=60, description="Days back that are looked at for flags; the weekly round."
    )
    flag_rows: int = Field(
        20_000,
        ge=100,
        description="Accesses of a day looked at for flags at most; half a second of work, once "
        "for each day that is over.",
    )
    flag_actions: tuple[str, ...] = Field(
        ("gateway.", "emergency.", "data.", "knowledge.search", "records."),
        description="Beginnings of the actions that count as an access to patient data or the AI.",
    )
    usual_from: int = Field(
        6, ge=0, le=23, description="Hour at which usual use begins; the first shift."
    )
    usual_until: int = Field(
        22, ge=1, le=24, description="Hour at which usual use ends; the last round."
    )
    volume_per_day: int = Field(
        200, ge=1, description="Accesses of one user in a day that raise a flag; 20 an hour."
    )
    refused_per_day: int = Field(
        5, ge=1, description="Refused requests of one user in a day that raise a flag."
    )
    patient_users: int = Field(
        5,
        ge=2,
        description="Users that touch one patient in a day before it is flagged; a ward team has "
        "fewer, curiosity about a colleague or a celebrity has more.",
    )

    # Sampling
    sample_size: int = Field(
        10, ge=1, le=200, description="Entries of a random sample when none is asked for."
    )
    sample_population: int = Field(
        200_000, ge=100, description="Entries a sample is drawn from at most; a second of hashing."
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("a time zone of the IANA list, such as America/Sao_Paulo") from None
        return value

    @model_validator(mode="after")
    def _beyond_loopback_needs_tls(self) -> Self:
        if self.host not in LOOPBACK and (self.tls_certificate is None or self.tls_key is None):
            raise ValueError("beyond loopback tls_certificate and tls_key must be set")
        if self.usual_from >= self.usual_until:
            raise ValueError("usual_from must lie before usual_until")
        return self
