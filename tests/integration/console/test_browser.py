"""The main journeys in a real browser, in both languages, with axe-core on every page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from appliance.console.app import create_app

SHOTS = os.environ.get("CONSOLE_SCREENSHOTS")
WORDS = {
    "pt-BR": {
        "login": "Entrar",
        "emergency": "Emergências",
        "show": "Mostrar",
        "decisions": "Decisões",
        "appropriate": "Adequado",
        "record": "Registrar a determinação",
        "waits": "Aguarda segunda assinatura",
        "agree": "Estou de acordo",
        "sign": "Assinar",
        "closed": "Concluído",
        "check": "Verificar esta entrada",
        "proven": "Provado",
        "make": "Gerar o arquivo de provas",
        "out": "Sair",
        "verify": "Verificar agora",
        "intact": "Íntegro",
        "other": "English",
    },
    "en": {
        "login": "Log in",
        "emergency": "Emergencies",
        "show": "Show",
        "decisions": "Decisions",
        "appropriate": "Appropriate",
        "record": "Record the determination",
        "waits": "Waiting for sign-off",
        "agree": "I agree",
        "sign": "Sign off",
        "closed": "Closed",
        "check": "Verify this entry",
        "proven": "Proven",
        "make": "Make the evidence file",
        "out": "Log out",
        "verify": "Verify now",
        "intact": "Intact",
        "other": "Português",
    },
}


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility checker, fetched from its registry for the tests only."""
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", "axe-core@4", "--silent", "--cache", str(folder / "cache")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


@pytest.fixture
def address(world: Any) -> Iterator[str]:
    """Serve the console of the world."""
    config = uvicorn.Config(create_app(world.console), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def check_page(page: Page, axe: str, name: str) -> None:
    """No serious or critical finding of axe-core, nothing the policy had to block."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    bad = [v for v in found["violations"] if v["impact"] in {"serious", "critical"}]
    assert not bad, name + json.dumps(
        [(v["id"], [n["html"] for n in v["nodes"][:3]]) for v in bad], indent=1
    )
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


def log_in(page: Page, world: Any, address: str, name: str, language: str) -> None:
    words = WORDS[language]
    page.goto(f"{address}/login")
    if page.locator("html").get_attribute("lang") != language:
        other = "English" if language == "en" else "Português"
        page.get_by_role("button", name=other).click()
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill("um lago azul ao norte")
    page.locator("input[name=code]").fill(world.codes.code(name))
    page.get_by_role("button", name=words["login"]).click()
    page.wait_for_url(re.compile(r"/(users)?$"))


def new_page(browser: Browser, problems: list[str], width: int = 1280) -> Page:
    context = browser.new_context(viewport={"width": width, "height": 900}, locale="pt-BR")
    page = context.new_page()
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: problems.append(str(e)))
    return page


@pytest.mark.parametrize("language", ["pt-BR", "en"])
def test_emergency_access_of_a_day_from_log_in_to_verified_evidence(  # noqa: PLR0917 - fixtures
    world: Any, address: str, browser: Browser, axe: str, tmp_path: Path, language: str
) -> None:
    words = WORDS[language]
    problems: list[str] = []
    page = new_page(browser, problems)
    page.goto(f"{address}/login")
    check_page(page, axe, f"{language}-01-login")
    log_in(page, world, address, "revisora", language)
    page.get_by_role("button", name=words["verify"]).click()
    expect(page.locator("#verification")).to_contain_text(words["intact"], timeout=60_000)
    check_page(page, axe, f"{language}-02-overview")
    page.get_by_role("link", name=words["emergency"], exact=True).first.click()
    today = world.console.clock.now().astimezone(world.console.zone).date().isoformat()
    page.locator("input[name=day]").fill(today)
    page.get_by_role("button", name=words["show"]).click()
    check_page(page, axe, f"{language}-03-emergency")
    page.get_by_role("row", name="medico1").get_by_role("link").click()
    check_page(page, axe, f"{language}-04-event")
    place = page.url
    page.get_by_label(words["appropriate"], exact=True).check()
    page.locator("textarea[name=comment]").fill("Plantao confirmado na escala do dia")
    page.get_by_role("button", name=words["record"]).click()
    expect(page.locator("#content")).to_contain_text(words["waits"])
    page.get_by_role("button", name=words["out"]).click()

    log_in(page, world, address, "oficial", language)
    page.get_by_role("link", name=words["decisions"]).click()
    page.locator("td.time a").first.click()
    assert page.url == place
    page.get_by_label(words["agree"]).check()
    page.get_by_role("button", name=words["sign"], exact=True).click()
    expect(page.locator("#content")).to_contain_text(words["closed"])
    page.get_by_role("button", name=words["check"]).click()
    expect(page.locator("#proof")).to_contain_text(words["proven"])
    check_page(page, axe, f"{language}-05-signed")
    page.goto(f"{address}/evidence?what=emergency&day={today}")
    check_page(page, axe, f"{language}-06-evidence")
    with page.expect_download() as waiting:
        page.get_by_role("button", name=words["make"]).click()
    target = tmp_path / "evidence.zip"
    waiting.value.save_as(target)
    verify(target, tmp_path / "elsewhere")
    assert problems == []


def verify(target: Path, folder: Path) -> None:
    """Check the evidence as somebody outside would: plain Python, nothing of ours."""
    with zipfile.ZipFile(target) as archive:
        archive.extractall(folder)  # noqa: S202 - this test's own zip
    command = [sys.executable, "-I", "-S", "verify.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_other_page_is_accessible(
    world: Any, address: str, browser: Browser, axe: str
) -> None:
    problems: list[str] = []
    for person, paths in (
        (
            "oficial",
            [
                "/?chart=hour",
                "/events",
                "/events?user=ninguem",
                "/flags?show=all",
                "/samples",
                "/decisions",
                "/witness",
                "/emergency?day=2020-01-01",
            ],
        ),
        ("admin1", ["/users"]),
    ):
        page = new_page(browser, problems)
        log_in(page, world, address, person, "pt-BR")
        for path in paths:
            page.goto(address + path)
            check_page(page, axe, "x-" + re.sub(r"\W+", "-", path))
    page.locator("form[action='/users'] input[name=name]").fill("nova.revisora")
    page.locator("form[action='/users'] input[value=reviewer]").check()
    page.get_by_role("button", name="Convidar", exact=True).click()
    check_page(page, axe, "x-invited")
    code = page.locator("#invitation").inner_text()
    page = new_page(browser, problems)
    page.goto(f"{address}/enrol")
    page.locator("input[name=name]").fill("nova.revisora")
    page.locator("input[name=invitation]").fill(code)
    page.get_by_role("button", name="Continuar").click()
    check_page(page, axe, "x-enrol")
    page = new_page(browser, problems)
    log_in(page, world, address, "oficial", "pt-BR")
    page.goto(f"{address}/samples")
    page.get_by_role("button", name="Sortear").click()
    check_page(page, axe, "x-sample")
    page.goto(f"{address}/flags")
    page.locator("td.time a").first.click()
    check_page(page, axe, "x-flag")
    page.goto(f"{address}/witness")
    page.get_by_role("button", name="Mostrar como QR code").click()
    check_page(page, axe, "x-request")
    assert problems == []
    page.goto(f"{address}/nothing-here")
    check_page(page, axe, "x-error")
    page.goto(f"{address}/events")
    page.emulate_media(media="print")
    assert page.locator("nav[aria-label=Principal]").is_hidden()
    assert page.locator(".filters").is_hidden()
    assert page.locator("table").is_visible()
    check_page(page, axe, "x-print")
    narrow = new_page(browser, problems, 390)
    log_in(narrow, world, address, "auditora", "pt-BR")
    for path in ("/", "/emergency?show=all"):
        narrow.goto(address + path)
        check_page(narrow, axe, "narrow-" + re.sub(r"\W+", "-", path))
        wide = narrow.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{path} scrolls sideways by {wide} px"


def test_one_review_with_the_keyboard_alone(world: Any, address: str, browser: Browser) -> None:
    problems: list[str] = []
    page = new_page(browser, problems)
    log_in(page, world, address, "revisora", "pt-BR")
    page.goto(f"{address}/emergency")
    _tab_to(page, "td.time a")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/events/\d+/\d+"))
    _tab_to(page, "input[name=determination]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("Sem plantao neste dia")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_contain_text("Determinação: Inadequado")
    assert problems == []


def _tab_to(page: Page, selector: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"the Tab key does not lead to {selector}")


def test_the_pages_work_without_javascript(world: Any, address: str, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, world, address, "auditora", "pt-BR")
    page.goto(f"{address}/events?emergency=1")
    page.locator("td.time a").first.click()
    page.get_by_role("button", name="Verificar esta entrada").click()
    expect(page.locator("#proof")).to_contain_text("Provado")
