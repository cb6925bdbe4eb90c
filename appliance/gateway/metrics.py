"""What Prometheus reads: numbers only, no principal, no model text."""

from __future__ import annotations

from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Seconds. The wanted first token is 0.5 s and 50 tokens in 2 s, so the buckets are close there.
FIRST_TOKEN = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0, 30.0, 60.0)
BETWEEN_TOKENS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.2, 0.5, 1.0)
WHOLE = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


class Collector(Protocol):
    """What is measured elsewhere and read at every scrape."""

    def collect(self) -> list[Any]:
        """Return metric families."""
        ...


class Metrics:
    """The gateway's measures, each named with its unit."""

    def __init__(self, *others: Collector) -> None:
        """Start at zero, in a registry of this gateway's own; ``others`` are read with it."""
        self.registry = CollectorRegistry()
        for other in others:
            self.registry.register(other)
        self.requests = Counter(
            "appliance_requests",
            "Requests by route and HTTP status.",
            ("route", "status"),
            registry=self.registry,
        )
        self.first_token = Histogram(
            "appliance_time_to_first_token_seconds",
            "From the arrival of a request to the first token drawn.",
            registry=self.registry,
            buckets=FIRST_TOKEN,
        )
        self.between_tokens = Histogram(
            "appliance_inter_token_latency_seconds",
            "Between two pieces of one answer.",
            registry=self.registry,
            buckets=BETWEEN_TOKENS,
        )
        self.duration = Histogram(
            "appliance_request_duration_seconds",
            "From the arrival of a request to the end of its answer.",
            registry=self.registry,
            buckets=WHOLE,
        )
        self.running = Gauge(
            "appliance_num_requests_running", "Requests that hold a slot.", registry=self.registry
        )
        self.waiting = Gauge(
            "appliance_num_requests_waiting",
            "Requests that wait for a slot.",
            registry=self.registry,
        )
        self.prompt_tokens = Counter(
            "appliance_prompt_tokens", "Tokens read.", registry=self.registry
        )
        self.generation_tokens = Counter(
            "appliance_generation_tokens", "Tokens drawn.", registry=self.registry
        )
        self.guard_hits = Counter(
            "appliance_guard_hits", "Safety rules that fired.", ("rule",), registry=self.registry
        )
        self.ready = Gauge(
            "appliance_ready", "1 when requests are answered.", registry=self.registry
        )

    def text(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self.registry)
