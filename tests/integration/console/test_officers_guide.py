"""What docs/officers says, walked through as written, with the real commands and a real browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyotp
import pytest
from babel.messages.pofile import read_po
from playwright.sync_api import Browser, Page, expect

from appliance.audit.officer import let_sign
from appliance.audit.pseudonym import Pseudonyms
from appliance.audit.recorder import open_recorder
from appliance.console import i18n
from appliance.core.home import Home

DOCS = Path(__file__).parents[3] / "docs" / "officers"
PASSWORD = "quatro palavras bem longas"
APPLIANCE = [sys.executable, "-m", "appliance.cli.main"]


def words(language: str) -> str:
    """Return every word that the console may show in a language, one text."""
    with i18n.catalogue_path("pt_BR").open("rb") as stream:
        messages = [m for m in read_po(stream, locale="pt_BR") if m.id]
    return "\n".join(str(m.string if language == "pt-BR" else m.id) for m in messages)


@pytest.mark.parametrize(
    ("name", "language"),
    [("console.md", "pt-BR"), ("dia-a-dia.md", "pt-BR"), ("en/console.md", "en")],
)
def test_what_the_guide_prints_in_bold_stands_on_the_screen(name: str, language: str) -> None:
    shown = words(language)
    text = (DOCS / name).read_text("utf-8")
    bold = {" ".join(found.split()) for found in re.findall(r"\*\*(.+?)\*\*", text, re.DOTALL)}
    people = {"revisor", "oficial"}  # said of persons, not of the screen
    missing = sorted(phrase for phrase in bold - people if phrase not in shown)
    assert missing == []


class Guide:
    """Somebody who does what the guide says."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self.secrets: dict[str, str] = {}
        self.steps: dict[str, int] = {}

    def new_page(self) -> Page:
        page = self.browser.new_context(locale="pt-BR").new_page()
        page.goto(self.url)
        return page

    def code(self, name: str) -> str:
        step = max(int(time.time()) // 30, self.steps.get(name, 0) + 1)
        self.steps[name] = step
        return pyotp.TOTP(self.secrets[name]).generate_otp(step)

    def log_in(self, name: str) -> Page:
        page = self.new_page()
        page.get_by_label("Nome").fill(name)
        page.get_by_label("Senha").fill(PASSWORD)
        page.get_by_label("Código de seis dígitos").fill(self.code(name))
        page.get_by_role("button", name="Entrar").click()
        expect(page.get_by_role("button", name="Sair")).to_be_visible()
        return page

    def invite(self, admin: Page, name: str, role: str) -> None:
        """Invite as the administrator, enrol as the invited person."""
        admin.get_by_role("link", name="Contas").click()
        form = admin.locator("form[action='/users']")
        form.get_by_label("Nome", exact=True).fill(name)
        form.get_by_label(role).check()
        form.get_by_role("button", name="Convidar").click()
        code = admin.locator("#invitation").inner_text()
        page = self.new_page()
        page.get_by_role("link", name="Tenho um convite").click()
        page.get_by_label("Nome").fill(name)
        page.get_by_label("Código do convite").fill(code)
        page.get_by_role("button", name="Continuar").click()
        expect(page.locator(".qr svg")).to_be_visible()
        self.secrets[name] = page.locator("code").inner_text()
        page.get_by_label("Senha").fill(PASSWORD)
        page.get_by_label("Código de seis dígitos").fill(self.code(name))
        page.get_by_role("button", name="Concluir").click()
        expect(page.locator("main")).to_contain_text("Cadastro feito")


@pytest.fixture
def guide(home: Home, browser: Browser, stop_log: Any) -> Any:
    """Install and open as the guide tells hospital IT to."""
    with open_recorder(home, "gateway") as recorder:
        with recorder.action(
            "emergency.access",
            user="medico1",
            patient=Pseudonyms(home).pseudonym("PRONT-1"),
            break_glass=True,
            justification="Sala vermelha",
        ):
            pass
        let_sign(home)
    command = [*APPLIANCE, "--home", str(home.root), "console"]
    add = [*command, "user", "add", "admin1", "--role", "administrator"]
    made = subprocess.run(
        [*add, "--password-stdin", "--json"],
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    process = subprocess.Popen(
        [*command, "serve", "--port", "0", "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = Guide(browser, json.loads(process.stdout.readline())["url"])
        found.secrets["admin1"] = pyotp.parse_uri(json.loads(made.stdout)["totp_uri"]).secret
        yield found
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_day_as_the_portuguese_guide_tells_it(guide: Guide, tmp_path: Path) -> None:
    admin = guide.log_in("admin1")
    guide.invite(admin, "revisora", "Revisor(a)")
    guide.invite(admin, "oficial", "Oficial (DPO)")

    page = guide.log_in("revisora")
    page.get_by_role("button", name="Verificar agora").click()
    expect(page.locator("#verification")).to_contain_text("Íntegro", timeout=60_000)
    page.get_by_role("link", name="Emergências", exact=True).click()
    today = datetime.now(tz=ZoneInfo("America/Sao_Paulo")).date().isoformat()
    page.get_by_label("Dia").fill(today)
    page.get_by_role("button", name="Mostrar").click()
    page.locator("td.time a").click()
    page.get_by_label("Adequado", exact=True).check()
    page.get_by_label("Comentário").fill("Escala do dia confere")
    page.get_by_role("button", name="Registrar a determinação").click()
    expect(page.locator("main")).to_contain_text("Aguarda segunda assinatura")

    page = guide.log_in("oficial")
    page.get_by_role("link", name="Decisões").click()
    page.locator("td.time a").click()
    page.get_by_label("Estou de acordo").check()
    page.get_by_role("button", name="Assinar").click()
    expect(page.locator("main")).to_contain_text("Concluído")
    page.get_by_role("link", name="Provas").click()
    expect(page.get_by_label("Todos os acessos de emergência")).to_be_checked()
    page.get_by_label("De", exact=True).fill(today)
    page.get_by_label("Até", exact=True).fill(today)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Gerar o arquivo de provas").click()
    assert waiting.value.suggested_filename == f"evidencias-{today}.zip"
    waiting.value.save_as(tmp_path / "provas.zip")
    with zipfile.ZipFile(tmp_path / "provas.zip") as archive:
        archive.extractall(tmp_path / "outra-maquina")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "verify.py"],
        cwd=tmp_path / "outra-maquina",
        capture_output=True,
        text=True,
        check=False,
        env={"LANG": "pt_BR.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RESULTADO: VÁLIDO" in done.stdout
