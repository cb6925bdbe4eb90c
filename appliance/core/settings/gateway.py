"""Settings of the ``[gateway]`` table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from appliance.core.settings.section import Section

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class GatewaySettings(Section):
    """The ``[gateway]`` table of ``appliance.toml``."""

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Loopback unless the operator opens it: 175,108 open "
        "model servers were counted in January 2026.",
    )
    port: int = Field(8080, ge=0, le=65_535, description="TCP port; 0 takes a free one.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names accepted in the Host header besides loopback; a foreign name is how a "
        "web page reaches a local service (DNS rebinding; CVE-2026-49468).",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file with the certificate chain; needed to listen beyond loopback."
    )
    tls_key: Path | None = Field(None, description="PEM file with the private key.")
    model_alias: str = Field(
        "hospital",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="Name that clients may use instead of the promoted hash.",
    )
    client_system_prompt: Literal["append", "refuse"] = Field(
        "append",
        description="What becomes of a client's system message: put under the house prompt, which "
        "always comes first (the model was trained with it), or refused.",
    )
    max_body_bytes: int = Field(
        262_144,
        ge=1024,
        le=16_777_216,
        description="Bytes of a request body; 256 KiB hold 60,000 tokens of text.",
    )
    body_timeout_s: float = Field(
        10.0, gt=0, description="Seconds a client may take to send its body (slow senders)."
    )
    max_messages: int = Field(
        100, ge=1, le=10_000, description="Messages of a conversation; longer ones lose sense."
    )
    max_tokens: int = Field(
        1024,
        ge=1,
        le=131_072,
        description="Tokens of an answer a client may ask for; it bounds how long a slot is held.",
    )
    default_tokens: int = Field(
        256, ge=1, le=131_072, description="Tokens of an answer when the client names none."
    )
    queue_requests: int = Field(
        32,
        ge=0,
        le=10_000,
        description="Requests that may wait for a slot; more get 429. Waiting longer than a person "
        "does is worse than an honest refusal.",
    )
    queue_per_principal: int = Field(
        8,
        ge=1,
        le=10_000,
        description="Requests of one principal running or waiting; one application cannot take "
        "the whole queue.",
    )
    queue_timeout_s: float = Field(
        30.0, gt=0, description="Seconds a request may wait for a slot before 429."
    )
    request_timeout_s: float = Field(
        120.0, gt=0, description="Seconds from the slot to the end of an answer before 504."
    )
    retry_after_s: int = Field(
        2, ge=1, le=3600, description="Seconds named in Retry-After; one short answer's length."
    )
    drain_s: int = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds that running answers get to end after SIGTERM.",
    )
    promotion_check_s: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Seconds between looks at the audit log for a new promotion or a roll-back.",
    )
    patient_needed: bool = Field(
        default=False,
        description="Refuse a question without the header X-Patient-Id: set it where every use is "
        "about a patient, so that none goes unnamed; off for general questions and the demo.",
    )
    local_key: bool = Field(
        default=True,
        description="Make a key at each start for this machine's own command line, kept in "
        "run/gateway.json (mode 0600): who can read that file can make keys anyway.",
    )
    guard: bool = Field(
        default=True,
        description="Check questions and answers against the safety rules; an answer is then sent "
        "sentence by sentence, each after its check.",
    )

    @model_validator(mode="after")
    def _beyond_loopback_needs_tls(self) -> Self:
        if self.host in LOOPBACK:
            return self
        if self.tls_certificate is None or self.tls_key is None or not self.allowed_hosts:
            raise ValueError(
                "beyond loopback tls_certificate, tls_key and allowed_hosts must be set"
            )
        return self
