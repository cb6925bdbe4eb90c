"""An installed wheel finds profiles, catalogue, recordings and alert rules as a checkout does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from appliance.hardware.catalogue import folder

ROOT = Path(__file__).resolve().parents[3]


def test_the_wheel_carries_the_hardware_files(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "README.md").write_text("# Copy for building\n", encoding="utf-8")
    shutil.copytree(ROOT / "hardware", source / "hardware")
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(ROOT / "appliance", source / "appliance", ignore=ignore)
    code = "from setuptools import build_meta; import sys; build_meta.build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=source, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    shipped = {p.relative_to(folder()) for p in folder().rglob("*") if p.is_file()}
    installed = {p.relative_to(site / "hardware") for p in (site / "hardware").rglob("*.*")}
    assert shipped == {p for p in installed if (site / "hardware" / p).is_file()}
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "hardware", "plan", "--profile", "2x-rtx-5090",
         "--model", "Llama-3.1-70B-Instruct", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=dict(os.environ, PYTHONPATH=str(site), APPLIANCE_HOME=str(tmp_path / "home")),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    where = subprocess.run(
        [sys.executable, "-c", "import appliance.hardware.catalogue as c; print(c.folder())"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env=dict(os.environ, PYTHONPATH=str(site)),
    )  # fmt: skip
    assert where.stdout.strip() == str(site / "hardware")
