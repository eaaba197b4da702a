"""The vendored browser libraries: check them against their hashes, or fetch them again."""

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, TypedDict

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

VENDOR = Path(settings.BASE_DIR) / "static" / "vendor"
MANIFEST = VENDOR / "vendor.json"


class VendoredFile(TypedDict):
    source: str
    sha256: str


class Package(TypedDict):
    """`folder` stands under static/vendor/ and carries the version; `files` maps a name in it to
    the path within the package and the hash of what we serve."""

    name: str
    version: str
    folder: str
    files: dict[str, VendoredFile]


class Command(BaseCommand):
    help = (
        "Check the files of static/vendor/ against the hashes in vendor.json. With --refresh, "
        "fetch them again by package name and version (npm pack) and write files and hashes."
    )

    requires_system_checks = ()  # it needs the files only

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--refresh", action="store_true", help="fetch and write them again")

    def handle(self, *args: Any, refresh: bool, **options: Any) -> None:
        packages: list[Package] = json.loads(MANIFEST.read_text())
        if refresh:
            for package in packages:
                self.stdout.write(f"{package['name']} {package['version']}")
                fetch(package)
            MANIFEST.write_text(json.dumps(packages, indent=2) + "\n")
        wrong = differences(packages)
        if wrong:
            raise CommandError("Vendored files differ from vendor.json:\n  " + "\n  ".join(wrong))
        count = sum(len(package["files"]) for package in packages)
        self.stdout.write(f"{count} vendored files are what vendor.json says.")


def differences(packages: list[Package]) -> list[str]:
    """One line per file under static/vendor/ that is changed, missing, or not in vendor.json."""
    wrong = []
    expected = {MANIFEST}
    for package in packages:
        for name, file in package["files"].items():
            path = VENDOR / package["folder"] / name
            expected.add(path)
            if not path.is_file():
                wrong.append(f"{package['folder']}/{name}: missing")
            elif sha256(path.read_bytes()) != file["sha256"]:
                wrong.append(f"{package['folder']}/{name}: changed")
    wrong += [
        f"{path.relative_to(VENDOR)}: not in vendor.json"
        for path in sorted(VENDOR.rglob("*"))
        if path.is_file() and path not in expected
    ]
    return wrong


def fetch(package: Package) -> None:
    """Write the package's files, as published but for the source map's line, and their hashes."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", f"{package['name']}@{package['version']}"],
                cwd=folder,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            raise CommandError("npm is needed to refresh: install Node.js.") from None
        except subprocess.CalledProcessError:
            raise CommandError(
                f"npm could not fetch {package['name']}; it says why above."
            ) from None
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            for name, file in package["files"].items():
                member = tar.extractfile(f"package/{file['source']}")
                if member is None:
                    raise CommandError(f"{package['name']} has no file {file['source']}.")
                content = without_source_map(member.read())
                path = VENDOR / package["folder"] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                file["sha256"] = sha256(content)


def without_source_map(content: bytes) -> bytes:
    """We do not ship the maps, and collectstatic refuses a script that names a missing one."""
    return re.sub(rb"\n//# sourceMappingURL=\S+\s*\Z", b"\n", content)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
