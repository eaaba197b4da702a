"""deploy/: what its files name exists, systemd accepts the units, and serve tells systemd."""

import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.conftest import MakeSite
from tests.servers import ROOT, end, environment, manage

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
OF_PYTHON = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
OF_DEPLOY = {"STREAMSITE_HOST", "STREAMSITE_PROCESSES", "STREAMSITE_DATA", "POSTGRES_PASSWORD"}
OF_POSTGRES = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}


def words_of(pattern: str) -> set[str]:
    """What a pattern finds in any file of deploy/."""
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    return {word for path in files for word in re.findall(pattern, path.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("command", sorted(words_of(r'manage\.py(?:", "| )([a-z_]+)(?!\S*\.)')))
def test_each_command_in_it_exists(command: str) -> None:
    assert command in get_commands()


def test_each_variable_in_it_is_one_of_the_settings() -> None:
    documented = set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text()))
    named = words_of(r"\$\{\$?([A-Z_]+)[:?]|^ {4,6}([A-Z_]+): ")
    found = {name for pair in named for name in pair if name}
    for path in DEPLOY.rglob("*"):
        if path.suffix in (".service", ".example") or path.name == "Dockerfile":
            found |= set(re.findall(r"\b([A-Z][A-Z_]+)=", path.read_text()))
    assert {"SECRET_KEY", "DATA_DIR", "TRUSTED_PROXIES", "STREAMSITE_PROCESSES"} <= found
    assert found - documented - OF_PYTHON - OF_DEPLOY - OF_POSTGRES == set()


def test_no_secret_is_in_it() -> None:
    example = (DEPLOY / "compose.env.example").read_text()
    assert re.search(r"^SECRET_KEY=$", example, re.MULTILINE)
    assert re.search(r"^POSTGRES_PASSWORD=$", example, re.MULTILINE)
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_setting_can_stand_in_the_file_for_containers() -> None:
    # By hand: no package of ours reads YAML.
    text = (DEPLOY / "compose.yaml").read_text()
    site = text.partition("x-site: &site\n")[2].partition("\n\n")[0]
    assert "\n  env_file: [.env]\n" in site
    for service in ("setup", "web1", "web2", "worker", "housekeeping"):
        assert re.search(rf"^  {service}:(?:\n    <<:)? \*(?:site|web)$", text, re.MULTILINE)
    assert "x-web: &web\n  <<: *site\n" in text
    # What they cannot do without is asked for by name, in the example too.
    example = (DEPLOY / "compose.env.example").read_text()
    required = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    assert required == set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
    assert required == {"STREAMSITE_HOST", "SECRET_KEY", "POSTGRES_PASSWORD"}
    # What goes before the file is what the parts need, and said to whoever fills it in.
    fixed = set(re.findall(r"^    ([A-Z_]+): (?!\$\{\1)", site, re.MULTILINE))
    assert fixed == {"ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL", "DEBUG", "DATA_DIR", "BIND"}
    assert all(name in example for name in fixed)


def test_commands_at_the_shell_have_the_environment_of_the_units() -> None:
    document = (ROOT / "docs" / "deploying.md").read_text()
    found = re.search(r"as_site\(\) \{ (systemd-run .*?); \}", document, re.DOTALL)
    assert found
    words = shlex.split(found[1].replace("\\\n", " "))
    given = [words[at + 1] for at, word in enumerate(words) if word == "-p"]
    variables = " ".join(words[at + 1] for at, word in enumerate(words) if word == "-E")
    given.append(f"Environment={variables}")
    assert {line.partition("=")[0] for line in given} >= {"User", "EnvironmentFile", "Environment"}
    for unit in UNITS:
        if unit.suffix == ".service":
            assert set(given) <= set(unit.read_text().splitlines()), unit.name
    # Nothing else reads that file: a shell would cut a URL at its "&".
    assert not re.search(r"(?:\.|source|cat) /etc/streamsite/env", document)


def test_nginx_allows_an_address_what_its_processes_allow_it() -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    processes = len(re.findall(r"^    server 127\.0\.0\.1:", text, re.MULTILINE))
    table = (ROOT / "docs" / "settings.md").read_text()
    each = re.search(r"^\| `SOCKETS_PER_ADDRESS` \| `([0-9]+)`", table, re.MULTILINE)
    assert each
    assert f"limit_conn streamsite_sockets {processes * int(each[1])};" in text


def test_the_image_has_all_that_the_site_needs(tmp_path: Path) -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:] for line in lines if re.match("COPY [^-]", line)]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    image = tmp_path / "app"
    for *sources, target in copied:
        for source in sources:
            assert f"!{source}" in allowed
            place = image / target / ("" if (ROOT / source).is_dir() else source)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            elif target.endswith("/"):
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    variables = {"DEBUG": "off", "SECRET_KEY": "k9" + "".join(chr(97 + n % 26) for n in range(60))}
    done = manage(environment(tmp_path, **variables), "collectstatic", "--noinput", folder=image)
    assert done.returncode == 0, done.stdout


def installed_here(folder: Path) -> list[str]:
    """The units as they stand in /etc/systemd/system, for a checkout that is this one."""
    paths = []
    for unit in UNITS:
        path = folder / unit.name.replace("@.", "@8101.")
        path.write_text(unit.read_text().replace("/opt/streamsite/current", str(ROOT)))
        paths.append(str(path))
    return paths


def test_systemd_accepts_the_units_and_finds_little_exposed(tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "systemd is not installed: bin/setup-systemd"
    paths = installed_here(tmp_path)
    verified = subprocess.run(
        ["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    for path in paths:
        if path.endswith(".service"):
            offline = ["systemd-analyze", "security", "--offline=true", "--threshold=15", path]
            # In tenths of its 10 points; a service without any of it has 9.6.
            done = subprocess.run(offline, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


def test_serve_tells_systemd_when_it_serves_and_when_it_ends(
    make_site: MakeSite, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(20)
        site = make_site(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert supervisor.recv(100) == b"READY=1"
        assert end(site.servers[0].process) == 0
        assert supervisor.recv(100) == b"STOPPING=1"
