"""The documents name what there is, once, and nothing that is not there."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.servers import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = ("streamsite", "videos", "comments", "static/js", "bench")


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_module_has_one_line_among_the_modules() -> None:
    named = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/modules.md").read_text(), re.MULTILINE)
    there = {
        str(path.relative_to(ROOT))
        for folder in CODE
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".js")
        and not {"migrations", "node_modules", "ws"} & set(path.parts)
        and path.name != "__init__.py"
    }
    assert len(there) > 100
    assert set(named) ^ there == set()
    assert len(named) == len(there)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if not re.match(r"[a-z]+:", target):
            name, _hash, anchor = target.partition("#")
            path = document.parent / name if name else document
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), target


def test_make_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = re.findall(r"^make ([a-z-]+)", done.stdout, re.MULTILINE)
    assert set(named) == set(targets[1].split()) - {"help"}
