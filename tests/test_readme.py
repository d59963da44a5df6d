"""The README tells what the code does today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.readme import README, renewed
from trackgate import vendors
from trackgate.cli import main

TEXT = README.read_text(encoding="utf-8")
ROOT = README.parent


def test_the_generated_parts_are_current():
    assert renewed(TEXT) == TEXT, "run `make docs`"


def test_every_documented_curl_is_there():
    """One example a vendor, to the vendor's own path on the gateway's default address."""
    urls = re.findall(r"^curl -X POST http://127\.0\.0\.1:8080(\S+)", TEXT, re.MULTILINE)
    for vendor in vendors.load().values():
        assert {each.path for each in vendor.endpoints} & set(urls), vendor.title


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:src|tests|deploy)/[a-z_./]+)`", TEXT))))
def test_the_files_that_it_names_are_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[a-z_]+/)?[a-z_]+\.py)(?:: \w+)?`", TEXT))))
def test_the_modules_on_the_path_of_an_event_are_there(path):
    if not path.startswith("vendors/"):
        assert (ROOT / "src/trackgate" / path).exists()


def test_the_commands_that_it_names_are_there():
    named = set(re.findall(r"trackgate ([a-z]+)\b(?! (?:is|names|says|does))", " ".join(re.findall(r"`[^`]*`", TEXT))))
    assert named
    assert named <= set(main.commands)


def test_what_it_tells_to_make_is_made():
    makefile = Path(ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z]+)  ", TEXT)) | set(re.findall(r"`make ([a-z]+)`", TEXT)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
