"""The Dockerfile's own steps give a working program where there is nothing but a Python."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.deploy.dockerfile import Image, Step, command, said, stages

REPOSITORY = Path(__file__).parents[2]
BUILD, FINAL = stages((REPOSITORY / "Dockerfile").read_text())
KEYS = ("web-key", "flywheel-key", "thrivestack-key")

CACHED = """
import sys
import trackgate.cli.serve
specs = [module.__spec__ for module in sys.modules.values() if getattr(module, "__spec__", None)]
print(*(spec.cached for spec in specs if spec.has_location and spec.cached), sep="\\n")
"""
"""Names the bytecode of everything that serving imports."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Both stages, done; the root file system of the second below a folder."""
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", folder / "python"], check=True, timeout=120)
    built = Image(folder / "root", REPOSITORY, folder / "python" / "bin")
    for step in BUILD:
        built.do(step)
    final = Image(folder / "root", REPOSITORY, folder / "nothing")
    for step in FINAL:
        if step.word in {"ENV", "COPY"} and "--from" not in step.rest:
            final.do(step)
    final.place("/data").mkdir(mode=0o700)
    return final


def trackgate(image: Image, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The image's entry point, in the image's environment and no other."""
    return subprocess.run(
        [image.place("/opt/trackgate/bin") / command(FINAL, "ENTRYPOINT")[0], *arguments],
        cwd=image.root,
        env={**image.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


SIDECAR = next(yaml.safe_load_all((REPOSITORY / "deploy" / "kubernetes" / "sidecar.yaml").read_text()))


@pytest.fixture(scope="module")
def keys(image: Image) -> None:
    """What a platform mounts from its secrets."""
    folder = image.place("/run/secrets/trackgate")
    folder.mkdir(parents=True)
    for key in KEYS:
        (folder / key).write_text(f"made-up-{key}\n")


def mounted(image: Image, text: str) -> str:
    """Routes in the place of the shipped ones, which name their keys as they stand in this image."""
    file = image.place("/etc/trackgate/mounted.toml")
    file.write_text(text.replace("/run/", f"{image.root}/run/"))
    return str(file)


def test_the_program_starts(image: Image) -> None:
    """`docker run trackgate --help`."""
    done = trackgate(image, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "serve" in done.stdout


def test_every_file_of_the_package_is_installed(image: Image) -> None:
    """SQL and JSON stand beside the code and travel with it."""
    source = REPOSITORY / "src" / "trackgate"
    [installed] = image.root.glob("opt/trackgate/lib/python*/site-packages/trackgate")
    wanted = {file.relative_to(source) for file in source.rglob("*") if "__pycache__" not in file.parts}
    assert wanted <= {file.relative_to(installed) for file in installed.rglob("*")}


def test_bytecode_is_compiled_at_build(image: Image) -> None:
    """Since a read-only root file system lets nothing be compiled later."""
    assert any(image.root.glob("opt/trackgate/lib/python*/site-packages/trackgate/__pycache__/*.pyc"))


def test_what_it_imports_of_the_standard_library_is_compiled_at_build_too(image: Image, tmp_path: Path) -> None:
    """The base image comes without that bytecode; here it is looked for in a folder that was empty."""
    [line] = [step.rest for step in FINAL if step.word == "RUN" and "trackgate" in step.rest]
    environment = {**image.environment, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    subprocess.run(["/bin/sh", "-ec", line], cwd=image.root, env=environment, check=True, timeout=60)
    cached = subprocess.run(
        [image.place("/opt/trackgate/bin/python"), "-c", CACHED],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    assert any("asyncio" in file for file in cached)
    assert [file for file in cached if not Path(file).exists()] == []


def test_the_shipped_routes_are_refused_off_loopback(image: Image) -> None:
    """A gateway without keys is for loopback: `serve` refuses, in `check`'s words, and names both ways out."""
    checked, served = trackgate(image, "check"), trackgate(image, "serve")
    assert (checked.returncode, served.returncode) == (2, 2)
    assert served.stderr.splitlines() == [line for line in checked.stderr.splitlines() if ": error: " in line]
    [refusal] = [line for line in served.stderr.splitlines() if "sources.userpilot.auth" in line]
    assert "key = " in refusal
    assert "127.0.0.1" in refusal


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("text", "listen"),
    [
        pytest.param((REPOSITORY / "deploy" / "routes.toml").read_text(), "0.0.0.0:8080", id="compose and fleet"),
        pytest.param(SIDECAR["data"]["routes.toml"], "127.0.0.1:47813", id="sidecar"),
    ],
)
def test_the_deployed_routes_pass(image: Image, text: str, listen: str) -> None:
    """What deploy/ shows is what `check` finds nothing in, not even to warn of."""
    done = trackgate(image, "check", "--strict", TRACKGATE_CONFIG=mounted(image, text), TRACKGATE_LISTEN=listen)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("keys")
def test_it_serves_is_healthy_and_stops(image: Image) -> None:
    """CMD, HEALTHCHECK and STOPSIGNAL of the image; nothing is written outside its volume."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    routes = mounted(image, (REPOSITORY / "deploy" / "routes.toml").read_text())
    here = {"TRACKGATE_CONFIG": routes, "TRACKGATE_LISTEN": listen}
    before = outside_the_volume(image)
    health = healthcheck()
    with subprocess.Popen(
        [image.place("/opt/trackgate/bin/trackgate"), *command(FINAL, "CMD")],
        cwd=image.root,
        env={**image.environment, **here},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            until = time.monotonic() + 60
            while trackgate(image, *health, **here).returncode and server.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            ready = trackgate(image, *health, "--ready", **here)
            server.send_signal(signal.Signals[said(FINAL, "STOPSIGNAL")])
            output, _ = server.communicate(timeout=60)
        finally:
            server.kill()
    assert ready.returncode == 0, output
    assert server.returncode == 0, output
    assert trackgate(image, *health, **here).returncode != 0
    assert outside_the_volume(image) == before
    assert any(image.place("/data").iterdir())


def healthcheck() -> list[str]:
    """What HEALTHCHECK runs, behind its options and the program's name."""
    program, *arguments = command([Step("CMD", said(FINAL, "HEALTHCHECK").partition(" CMD ")[2])], "CMD")
    assert [program] == command(FINAL, "ENTRYPOINT")
    return arguments


def outside_the_volume(image: Image) -> dict[Path, int]:
    """Every file of the image and when it was last written."""
    volume = image.place(said(FINAL, "VOLUME"))
    return {
        file: file.stat().st_mtime_ns
        for file in image.root.rglob("*")
        if file.is_file() and not file.is_relative_to(volume)
    }
