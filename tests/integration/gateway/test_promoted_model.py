"""The whole path: registry, promotion in the real audit log, llama.cpp, HTTP, command line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from click.testing import CliRunner

from appliance.audit.pseudonym import Pseudonyms
from appliance.audit.recorder import Recorder, open_recorder
from appliance.cli.main import cli
from appliance.core.clock import SystemClock
from appliance.core.errors import RequestRefusedError, StateDamagedError
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.datasets.prompt import CHAT_TEMPLATE
from appliance.datasets.record import Record, checked
from appliance.datasets.store import DatasetStore, Draft, Tally
from appliance.gateway.care import PURPOSES
from appliance.gateway.keys import KeyStore
from appliance.gateway.promoted import AuditPromoted
from appliance.gateway.service import Running, find_running, running_gateway
from appliance.inference.engine import Message, Sampling
from appliance.inference.upstream import UpstreamEngine
from appliance.registry.promotionlog import AuditPromotionLog
from appliance.registry.promotions import Approval, Promotions, Verdict, promote, rollback
from appliance.registry.store import ModelStore

TOY = Path(__file__).parent.parent / "inference" / "toy_gguf.py"
SETTINGS = Settings.model_validate(
    {
        "inference": {"context_tokens": 1024, "threads": 1},
        "gateway": {"promotion_check_s": 0.1, "default_tokens": 12},
    }
)
QUESTION = "Que horas abre a UBS?"


class Site:
    """A home with a promoted toy model."""

    def __init__(self, home: Home) -> None:
        spec = importlib.util.spec_from_file_location("toy_gguf", TOY)
        assert spec is not None
        assert spec.loader is not None
        toy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(toy)
        self.home = home
        self.store = ModelStore(home)
        self.base = self._add(lambda p: toy.write_base(p, template=CHAT_TEMPLATE))
        self.one = self._add(toy.write_adapter, base_gguf=self.base)
        self.two = self._add(lambda p: toy.write_adapter(p, seed=99), base_gguf=self.base)

    def _add(self, write: Any, **links: str) -> str:
        with self.store.staging() as staging:
            (staging / "files").mkdir()
            write(staging / "files" / "model.gguf")
            fields: dict[str, Any] = {"name": "toy", "licence": "MIT", "source": "test"}
            return self.store.add("gguf", staging / "files", links=links, **fields).hash

    def promote(self, recorder: Recorder, content: str) -> None:
        verdict = Verdict("e" * 64, content, passed=True)
        promote(self.store, content, verdict, recorder, Approval())

    @contextmanager
    def gateway(self) -> Iterator[tuple[Running, Recorder]]:
        with (
            open_recorder(self.home, "gateway") as recorder,
            running_gateway(self.home, SETTINGS, recorder) as running,
        ):
            yield running, recorder


@pytest.fixture
def site(home: Home) -> Site:
    site = Site(home)
    with open_recorder(home, "registry") as recorder:
        site.promote(recorder, site.one)
    home.settings_file.write_text(
        "[inference]\ncontext_tokens = 1024\nthreads = 1\n[gateway]\ndefault_tokens = 12\n"
    )
    return site


def ask(running: Running, text: str, key: str | None = None) -> Any:
    client = openai.OpenAI(base_url=running.base_url, api_key=key or running.api_key, max_retries=0)
    return client.chat.completions.create(
        model="hospital", messages=[{"role": "user", "content": text}], max_tokens=12
    )


def test_the_promoted_adapter_answers_and_a_roll_back_switches(site: Site) -> None:
    with site.gateway() as (running, recorder):
        assert ask(running, QUESTION).model == site.one
        site.promote(recorder, site.two)
        _until(lambda: ask_model(running) == site.two)
        second = ask(running, QUESTION).choices[0].message.content
        rollback(site.store, Promotions(AuditPromotionLog(site.home)), recorder, Approval())
        _until(lambda: ask_model(running) == site.one)
        assert ask(running, QUESTION).choices[0].message.content != second
    assert AuditPromoted(site.home).current_hash() == site.one


def ask_model(running: Running) -> str | None:
    client = openai.OpenAI(base_url=running.base_url, api_key=running.api_key, max_retries=0)
    try:
        return client.models.list().data[0].id
    except openai.APIStatusError:
        return None


def test_a_promoted_file_that_was_changed_is_not_served(site: Site) -> None:
    path = site.store.gguf_path(site.one)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o640)
    path.write_bytes(bytes(data))
    with pytest.raises(StateDamagedError), site.gateway():
        pass


def test_a_canary_of_one_principal_does_not_change_the_answer_to_another(site: Site) -> None:
    keys = KeyStore(site.home, SystemClock())
    (one, _), (two, _) = keys.create("ward-a", "app"), keys.create("ward-b", "app")
    with site.gateway() as (running, _):
        alone = ask(running, QUESTION, two).choices[0].message.content
        ask(running, "zarabatana canário segredo " * 8, one)
        again = ask(running, QUESTION, two)
        assert again.choices[0].message.content == alone
    left = [p for p in site.home.root.rglob("*") if p.is_file() and b"zarabatana" in p.read_bytes()]
    assert left == []


def test_the_log_holds_intent_and_outcome_and_still_verifies(site: Site) -> None:
    with site.gateway() as (running, _):
        ask(running, QUESTION)
    found = run(site, "audit", "verify", "--json")
    assert found["ok"] is True
    entries = run(site, "audit", "search", "--action", "gateway.chat", "--json")
    phases = [e["phase"] for e in entries["entries"]]
    assert sorted(phases) == ["intent", "outcome"]


def test_another_gateway_serves_as_an_upstream(site: Site, tmp_path: Path) -> None:
    with site.gateway() as (running, _):
        key = tmp_path / "key"
        key.write_text(running.api_key + "\n")
        settings = SETTINGS.inference.model_copy(
            update={
                "upstream_url": running.base_url,
                "upstream_model": "hospital",
                "upstream_key_file": key,
            }
        )
        engine = UpstreamEngine(site.one, settings)
        assert engine.ready()
        found = engine.chat([Message("user", QUESTION)], Sampling(max_tokens=12))
        direct = ask(running, QUESTION)
        assert found.text == direct.choices[0].message.content
        assert found.prompt_tokens == direct.usage.prompt_tokens
        assert found.completion_tokens == direct.usage.completion_tokens
        engine.close()


def run(site: Site, *arguments: str, code: int = 0, said: str = "") -> Any:
    result = CliRunner().invoke(
        cli, ["--home", str(site.home.root), *arguments], standalone_mode=False, input=said
    )
    assert result.exception is None, result.exception
    assert (result.return_value or 0) == code
    return json.loads(result.stdout.splitlines()[0])


def test_ask_and_chat_go_through_a_gateway_of_their_own(site: Site) -> None:
    one = run(site, "ask", QUESTION, "--json", "--max-tokens", "6")
    talk = run(site, "chat", "--json", "--max-tokens", "6", said=f"{QUESTION}\n/sair\n")
    assert one["ok"] is True
    assert one["model"] == site.one
    assert talk["answer"] == one["answer"]


def test_ask_says_about_whom_and_why(site: Site) -> None:
    """What an officer finds later: the pseudonym, the purpose, the emergency with its reason."""
    asked = (QUESTION, "--json", "--max-tokens", "4", "--ask-patient")
    run(site, "ask", *asked, "--purpose", "TREAT", said="PRONT-0042\n")
    reason = "parada na sala vermelha, 10% de bateria"
    run(site, "ask", *asked, "--emergency", reason, said="PRONT-0042\n")
    run(site, "chat", *asked[1:], "--purpose", "HQUALIMP", said=f"PRONT-0042\n{QUESTION}\n/sair\n")
    pseudonym = Pseudonyms(site.home).pseudonym("PRONT-0042")
    found = run(site, "audit", "search", "--action", "gateway.chat", "--json")["entries"]
    mine = [e for e in found if e.get("patient") == pseudonym and e["phase"] == "intent"]
    assert {e["purpose"] for e in mine} == {"TREAT", "ETREAT", "HQUALIMP"}
    [emergency] = [e for e in mine if e.get("break_glass")]
    assert (emergency["justification"], emergency["purpose"]) == (reason, "ETREAT")
    assert b"PRONT-0042" not in b"".join(
        p.read_bytes() for p in site.home.audit.rglob("*") if p.is_file()
    )


def test_ask_refuses_what_the_gateway_would_and_says_why(site: Site) -> None:
    def refused(*arguments: str, said: str = "") -> str:
        result = CliRunner().invoke(
            cli, ["--home", str(site.home.root), "ask", QUESTION, *arguments], input=said
        )
        assert result.exit_code == 2 or isinstance(result.exception, RequestRefusedError)
        return f"{result.stderr}{result.exception}"

    told = CliRunner().invoke(cli, ["ask", "--help"]).stdout
    assert all(code in told for code in PURPOSES)
    assert "--ask-patient" in refused("--emergency", "parada cardíaca")
    assert "TREAT" in refused("--purpose", "CURIOSITY")
    short = refused("--ask-patient", "--emergency", "urgente", said="1\n")
    assert "x-emergency-justification: 10 characters or more" in short
    assert "a justification for an emergency access" in refused("--purpose", "ETREAT")


def test_serve_answers_ask_and_drains_on_sigterm(site: Site) -> None:
    program = [sys.executable, "-m", "appliance", "--home", str(site.home.root)]
    with subprocess.Popen(
        [*program, "serve", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    ) as server:
        assert server.stdout is not None
        assert json.loads(server.stdout.readline())["ok"] is True
        assert find_running(site.home) is not None
        assert run(site, "ask", QUESTION, "--json", "--max-tokens", "4")["model"] == site.one
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert not (site.home.run / "gateway.json").exists()
    last = run(site, "audit", "search", "--action", "gateway.stopped", "--json")
    assert len(last["entries"]) == 1


def test_keys_are_made_listed_and_revoked_on_the_command_line(site: Site) -> None:
    made = run(site, "serve", "keys", "create", "ward-app", "--days", "9", "--json")
    assert made["key"].startswith(f"sk-{made['id']}-")
    run(site, "serve", "keys", "revoke", made["id"], "--json")
    (listed,) = run(site, "serve", "keys", "list", "--json")["keys"]
    assert listed["revoked"]
    assert "hash" not in listed


def test_guard_check_answers_no_when_a_rule_fires(site: Site) -> None:
    assert run(site, "guard", "check", "--question", QUESTION, "--json")["ok"]
    found = run(site, "guard", "check", "--question", "quero morrer", "--json", code=1)
    assert found["findings"][0]["rule"] == "emergency-mental"


def test_evaluate_measures_compares_and_lets_the_gate_decide(site: Site) -> None:
    pair = {"kind": "preference", "question": "posso tomar?", "split": "test"}
    records = [
        Record(id=f"p{n}", forbidden="tomar 192", safe=f"procure médico {n}", **pair)  # type: ignore[arg-type]  # a kind
        for n in range(4)
    ]
    records.append(Record(id="h", kind="harmless", question="dor?", answer="sim", split="test"))
    placed = [checked(r, field_characters=1000) for r in records]
    dataset = DatasetStore(site.home).write(placed, Draft("split"), Tally()).hash
    common = ("--dataset", dataset, "--json")
    before = run(site, "evaluate", "run", "--model", site.base, *common)
    after = run(site, "evaluate", "run", "--model", site.base, "--adapter", site.one, *common)
    assert before["metrics"]["perplexity"] != after["metrics"]["perplexity"]
    assert after["subject"]["adapter"] == site.one
    rows = run(site, "evaluate", "compare", before["hash"], after["hash"], "--json")["rows"]
    assert "perplexity" in {row["name"] for row in rows}
    # The other way round the baseline has an adapter: never comparable, so the answer is no.
    swapped = ("evaluate", "compare", after["hash"], before["hash"], "--gate", "demo", "--json")
    assert run(site, *swapped, code=1)["gate"]["checks"][0]["ok"] is False
    assert len(run(site, "evaluate", "report", "--json")["evaluations"]) == 2


def _until(true: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen")
