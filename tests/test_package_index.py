"""Fetching a wheel through pip or uv, whichever the environment has, from an index that is a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from inferno import package_index
from inferno.errors import DownloadError
from inferno.package_index import fetch_wheel

NAME = "tiny_thing-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, which pip is set up to use instead of any index."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "tiny_thing-1.0.dist-info"
    with zipfile.ZipFile(folder / NAME, "w") as wheel:
        wheel.writestr("tiny_thing/data.bin", b"data")
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\nRequires-Dist: nowhere\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def download_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "download"
    folder.mkdir()
    return folder


def test_pip_as_it_is_set_up(index: Path, tmp_path: Path) -> None:
    wheel = fetch_wheel("tiny-thing==1.0", "", download_folder(tmp_path))
    assert wheel.read_bytes() == (index / NAME).read_bytes()


def test_an_environment_without_pip(index: Path, tmp_path: Path) -> None:
    """The pip that comes with Python for ensurepip, or the one of the interpreter the environment was made from."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    assert subprocess.run([python, "-m", "pip"], capture_output=True, check=False).returncode != 0
    source = Path(package_index.__file__).parents[1]
    code = (
        "import sys; from pathlib import Path; from inferno.package_index import fetch_wheel;"
        "print(fetch_wheel('tiny-thing==1.0', '', Path(sys.argv[1])))"
    )
    environment = {**os.environ, "PYTHONPATH": str(source), "PATH": "/nowhere"}
    done = subprocess.run(
        [python, "-c", code, download_folder(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == (index / NAME).read_bytes()


def only(monkeypatch: pytest.MonkeyPatch, *installers: package_index._Installer) -> None:
    monkeypatch.setattr(package_index, "_installers", lambda: iter(installers))


def script(path: Path, body: str) -> str:
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return str(path)


def test_uv_installs_beside_and_checks_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (
        'for a; do case "$a" in --target=*) target="${a#*=}";; --requirements=*) list="${a#*=}";; esac; done\n'
        'mkdir "$target"; cp "$list" "$target/list"; echo "$@" > "$target/arguments"\n'
    )
    uv = script(tmp_path / "uv", body)
    only(monkeypatch, package_index._Installer("uv", "uv", (uv,)))
    folder = fetch_wheel("tiny-thing==1.0", "ab" * 32, download_folder(tmp_path))
    assert (folder / "list").read_text() == f"tiny-thing==1.0 --hash=sha256:{'ab' * 32}\n"
    arguments = (folder / "arguments").read_text()
    assert "pip install --no-deps --require-hashes" in arguments
    assert f"--python={sys.executable}" in arguments


def test_a_setting_that_forbids_installing_outside_of_environments_does_not_stop_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    body = (
        '[ "$PIP_REQUIRE_VIRTUALENV" = 0 ] || exit 3\n'
        'for a; do case "$a" in --dest=*) mkdir "${a#*=}"; touch "${a#*=}/x.whl";; esac; done\n'
    )
    only(monkeypatch, package_index._Installer("pip", "pip", (script(tmp_path / "pip", body),)))
    assert fetch_wheel("tiny-thing==1.0", "", download_folder(tmp_path)).name == "x.whl"


def test_uv_is_tried_after_a_pip_that_fails_and_a_second_pip_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = script(tmp_path / "pip", f"echo tried >> {tmp_path}/tries; echo 'ERROR: no such wheel'; exit 1\n")
    uv = script(tmp_path / "uv", "echo 'error: uv is sad' >&2; exit 2\n")
    pips = [package_index._Installer(name, "pip", (pip,)) for name in ("pip", "bundled pip")]
    only(monkeypatch, pips[0], package_index._Installer("uv", "uv", (uv,)), pips[1])
    expected = r"tiny-thing==1.0 cannot be fetched from the package index \(pip: no such wheel; uv: error: uv is sad\)"
    with pytest.raises(DownloadError, match=expected):
        fetch_wheel("tiny-thing==1.0", "", download_folder(tmp_path))
    assert (tmp_path / "tries").read_text() == "tried\n"


def test_no_network(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PATH", "/nowhere")  # a uv would ask the real index
    expected = "the package index could not be reached .*Check the network and pip's settings, or name a model folder"
    with pytest.raises(DownloadError, match=expected):
        fetch_wheel("tiny-thing==1.0", "", download_folder(tmp_path))


def test_neither_pip_nor_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    with pytest.raises(DownloadError, match=r"this Python has no pip, and no uv is on the PATH. Install either one"):
        fetch_wheel("tiny-thing==1.0", "", download_folder(tmp_path))


def test_the_index_lacks_the_package(index: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"other-thing==2.0 cannot be fetched from the package index .*No matching"):
        fetch_wheel("other-thing==2.0", "", download_folder(tmp_path))
