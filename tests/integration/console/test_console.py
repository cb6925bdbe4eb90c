"""The console's pages over a real log, without a browser."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

PAGES = {
    "reader": [
        "/",
        "/?chart=hour",
        "/events",
        "/emergency",
        "/flags?show=all",
        "/samples",
        "/witness",
    ],
    "officer": ["/evidence"],
    "admin": ["/users"],
}


def first_emergency(html: str) -> str:
    found = re.search(r'href="(/events/\d+/\d+)"', html)
    assert found
    return found[1]


def test_every_page_answers_in_both_languages(world):
    visitor = world.client("oficial")
    for language, word in (("pt-BR", "Visão geral"), ("en", "Overview")):
        visitor.client.cookies.set("language", language)
        assert word in visitor.get("/").text
        for path in PAGES["reader"] + PAGES["officer"]:
            answer = visitor.get(path)
            assert answer.status_code == 200, (path, answer.text[:2000])
            assert answer.headers["cache-control"] == "no-store"
            assert "script-src 'self'" in answer.headers["content-security-policy"]
    admin = world.client("admin1")
    assert admin.get("/users").status_code == 200


def test_the_main_journey(world, tmp_path):
    reviewer, officer = world.client("revisora"), world.client("oficial")
    path = first_emergency(reviewer.get("/emergency").text)
    item = "e{}n{}".format(*path.split("/")[2:])
    page = reviewer.get(path).text
    answer = reviewer.post(
        f"/review/{item}", page=path, determination="appropriate", comment="Plantao confirmado"
    )
    assert answer.status_code == 200 and "Adequado" in answer.text
    page = officer.get(path).text
    key = re.search(r'name="review_key" value="(\d+)"', page)
    assert key
    answer = officer.post(f"/sign-off/{item}", page=path, decision="agree", review_key=key[1])
    assert answer.status_code == 200 and "Concluído" in answer.text
    proof = officer.post(f"{path}/check", page=path)
    assert "Provado" in proof.text
    day = time.strftime("%Y-%m-%d")
    answer = officer.post("/evidence", page="/evidence", what="emergency", first=day, last=day)
    assert answer.headers["content-type"] == "application/zip", answer.text[:2000]
    folder = tmp_path / "outside"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "verify.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
