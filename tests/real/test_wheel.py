"""What is installed works without the checkout: the wheel, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            folder,
            ROOT,
        ],
        check=True,
        timeout=50,
    )
    [wheel] = folder.glob("swapcore-*.whl")
    return wheel


def test_it_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"swapcore", "swapcli"}
    assert {"swapcore/py.typed", "swapcli/py.typed"} <= set(names)
    sources = {
        str(path.relative_to(ROOT)) for top in ("swapcore", "swapcli") for path in (ROOT / top).rglob("*.py")
    }
    assert sources <= set(names)


def test_installed_it_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=50)
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True, timeout=50)
    # The dependencies are taken from where the tests have them, the packages themselves are not.
    purelib = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(purelib, "dependencies.pth").write_text("\n".join(dependencies))
    config = tmp_path / "config.yaml"
    config.write_text("models:\n  m:\n    cmd: sleep 1 ${PORT}\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    code = "import swapcore, swapcli; print(swapcore.__file__); print(swapcli.__file__)"
    where = subprocess.check_output([python, "-c", code], cwd=tmp_path, env=environ, text=True, timeout=50)
    assert all(line.startswith(str(environment)) for line in where.splitlines())
    swapcli = environment / "bin" / "swapcli"
    assert "swapcli 0." in subprocess.check_output(
        [swapcli, "--version"], cwd=tmp_path, env=environ, text=True
    )
    checked = subprocess.check_output(
        [swapcli, "check", config], cwd=tmp_path, env=environ, text=True, timeout=50
    )
    assert "ok, 1 model" in checked
