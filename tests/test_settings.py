"""A setting that cannot work is refused at start, in a sentence, and no secret is in it."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.client import Person
from tests.conftest import MakeSite
from tests.faults.tls import Authority
from tests.servers import (
    ROOT,
    SECONDS_TO_START,
    Databases,
    Remote,
    environment,
    free_port,
    manage,
)

SECRET = "hunter2-do-not-show"
KEY = "k9" + "".join(chr(97 + n % 26) for n in range(60))


def refusal_of(done: "subprocess.CompletedProcess[str]") -> str:
    """What was said by a command that refused: one line or few, and no traceback."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    assert SECRET not in done.stdout
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DEBUG", "maybe", "DEBUG=on or DEBUG=off"),
        ("SECRET_KEY", SECRET, "at least 50 random characters"),
        ("SECRET_KEY", "a" * 80, "at least 50 random characters"),
        ("SECRET_KEY", "", "at least 50 random characters"),
        ("ALLOWED_HOSTS", "http://video.example", "without scheme and port"),
        ("ALLOWED_HOSTS", "video.example:8000", "without scheme and port"),
        ("BIND", "8000", "HOST:PORT"),
        ("BIND", "127.0.0.1:99999", "HOST:PORT"),
        ("TRUSTED_PROXIES", "yes", "a whole number from 0 to 10, as in TRUSTED_PROXIES=1"),
        ("TRUSTED_PROXIES", "-1", "a whole number from 0 to 10"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL=INFO"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT=json"),
        ("METRICS_TOKEN", SECRET, "at least 24 random"),
        ("SENTRY_DSN", f"https://{SECRET}/1", "https://key@host/number"),
        ("METRICS_TOKEN", f"{SECRET} with spaces in it", "at least 24 random"),
        ("DATABASE_URL", f"postgres://me:{SECRET}@[/x", "postgres://user:password@host"),
        ("DATABASE_URL", f"oracle://me:{SECRET}@host/x", "neither with sqlite:// nor"),
        ("DATABASE_URL", f'"postgres://me:{SECRET}@host/x"', "neither with sqlite:// nor"),
        ("DATABASE_URL", f"//me:{SECRET}@host/x", "neither with sqlite:// nor"),
        ("DATABASE_URL", f"postgres//me:{SECRET}@host/x", "neither with sqlite:// nor"),
        ("DATABASE_URL", f"postgres:/me:{SECRET}@host/x", "neither with sqlite:// nor"),
        ("DATABASE_URL", f"sqlite://me:{SECRET}@host/x", "third slash"),
        ("DATABASE_URL", f"postgres://me:1/{SECRET}@host/x", "%2F for /"),
        ("DATABASE_URL", f"postgres://me:{SECRET}@host/", "names no database"),
        ("DATABASE_URL", "sqlite://:memory:", "in memory"),
        ("REDIS_URL", f"http://:{SECRET}@host:6379", "redis://host:6379/0"),
        ("REDIS_URL", f"redis://:{SECRET}@host:port", "redis://host:6379/0"),
        ("REDIS_URL", f"rediss://:{SECRET}@host/0?ssl_ca_cert=/x.pem", "redis://host:6379/0"),
        ("REDIS_URL", f"rediss://:{SECRET}@host/0?ssl_ca_certs=/no/x.pem", "paths of PEM files"),
        ("RATE_VIEWER", "5", "RATE_VIEWER=5/10"),
        ("RATE_VIEWER", "0/10", "RATE_VIEWER=off"),
        ("RATE_ADDRESS", "fast", "RATE_ADDRESS=30/10, or RATE_ADDRESS=off"),
        ("SOCKETS_PER_SESSION", "0", "SOCKETS_PER_SESSION=off"),
        ("SOCKETS_PER_ADDRESS", "many", "SOCKETS_PER_ADDRESS=off"),
        ("SOCKETS_PER_PROCESS", "1.5", "SOCKETS_PER_PROCESS=off"),
        ("SOCKETS_PER_PROCESS", "99999999", "raise the limit (LimitNOFILE="),
        ("ORIGINS", "video.example", "https://video.example"),
        ("HSTS_ALL", "2", "HSTS_ALL=on or HSTS_ALL=off"),
        ("LOGIN_COOLOFF", "15m", "a whole number from 1 to 604800"),
        ("ADMIN_PATH", "control room/", "ADMIN_PATH=control-room/"),
        ("ADMIN_PATH", "/videos/admin/", "ADMIN_PATH=control-room/"),
        ("ADMIN_SECOND_FACTOR", "yes", "ADMIN_SECOND_FACTOR=optional"),
        ("DATA_DIR", "/proc/nowhere", "Write a folder that can be made and written to."),
        ("HTTP_BIND", "127.0.0.1:8080", "TLS_CERT and TLS_KEY too"),
        ("TLS_KEY", "/no/key.pem", "is set, but TLS_CERT is not. Write both"),
        ("EXPORT_HOURS", "0", "a whole number from 1 to 720"),
        ("FFMPEG", "/no/ffmpeg", "FFMPEG=off"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_what_to_write_instead(
    tmp_path: Path, name: str, value: str, says: str
) -> None:
    # HTTPS=off: what counts with it only is looked at all the same.
    variables = {"DEBUG": "off", "HTTPS": "off", "SECRET_KEY": KEY} | {name: value}
    sentence = refusal_of(manage(environment(tmp_path, **variables), "check"))
    assert sentence.startswith(name)
    assert says in sentence
    assert sentence.count("\n") == 0
    assert "Write " in sentence


def test_certificates_that_do_not_work_are_refused(tmp_path: Path) -> None:
    own, others = (Authority(tmp_path, name).issue("127.0.0.1") for name in ("own", "others"))
    words = tmp_path / "words.pem"
    words.write_text("not PEM")

    def said(cert: Path, key: Path, **variables: str) -> str:
        given = {"TLS_CERT": str(cert), "TLS_KEY": str(key), "SECRET_KEY": KEY} | variables
        return refusal_of(manage(environment(tmp_path, **given), "check"))

    assert "TLS_CERT names /no/x.pem, which cannot be read (No such" in said(Path("/no/x.pem"), own)
    assert "do not work together (KEY_VALUES_MISMATCH)" in said(own, others)
    assert "do not work together" in said(words, words)
    assert "HTTPS=on, or no TLS_CERT" in said(own, own, HTTPS="off")


def test_every_limit_can_be_off(tmp_path: Path) -> None:
    limits = ["RATE_VIEWER", "RATE_ADDRESS", "LOGIN_ATTEMPTS"] + [
        f"SOCKETS_PER_{what}" for what in ("SESSION", "ADDRESS", "PROCESS")
    ]
    done = manage(environment(tmp_path, **dict.fromkeys(limits, "off")), "check")
    assert done.returncode == 0, done.stdout


def test_the_key_of_a_checkout_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    assert manage(variables, "check").returncode == 0
    key = tmp_path / "data" / "secret_key"
    kept = key.read_text()
    assert len(kept) >= 50
    assert key.stat().st_mode & 0o077 == 0
    assert manage(variables, "check").returncode == 0
    assert key.read_text() == kept


def test_a_folder_of_any_name_holds_the_database(tmp_path: Path) -> None:
    folder = tmp_path / "a#b ?c%20d"
    done = manage(environment(tmp_path, DATA_DIR=str(folder)), "migrate")
    assert done.returncode == 0, done.stdout
    assert (folder / "db.sqlite3").stat().st_size
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == [folder.name]


# --- Serving ------------------------------------------------------------------------------------


def serve(variables: dict[str, str], *arguments: str) -> str:
    """The sentence of `serve` that refuses to start."""
    return refusal_of(manage(variables, "serve", *arguments, seconds=SECONDS_TO_START))


def test_debug_is_not_served_to_other_machines(tmp_path: Path) -> None:
    for bind in ("0.0.0.0:0", "[::]:0", "192.0.2.1:8000", "video.example:8000"):
        assert "DEBUG=off" in serve(environment(tmp_path), "--bind", bind)
    assert "DEBUG=off" in serve(environment(tmp_path, BIND="0.0.0.0:0"))


def test_a_bind_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert "HOST:PORT" in serve(environment(tmp_path), "--bind", "everywhere")


def test_a_database_without_tables_is_refused(tmp_path: Path) -> None:
    said = serve(environment(tmp_path), "--bind", f"127.0.0.1:{free_port()}")
    words = said.rpartition("settings: ")[2].split()
    assert words[-2:] == ["manage.py", "migrate"]
    assert (ROOT / words[0]).samefile(sys.executable), "and by a Python that is there"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"postgres://me:{SECRET}@127.0.0.1:NOBODYS/nowhere", "Connection refused"),
        (f"postgres://me:{SECRET}@127.0.0.1/nowhere?no_such=1", 'option "no_such"'),
        (f"postgres://me:{SECRET}@127.0.0.1/nowhere?sslmode={SECRET}", 'sslmode value: "…"'),
        ("sqlite:////no/such/folder/db", "its folder does not exist"),
    ],
)
def test_a_database_that_does_not_answer_is_refused_with_the_reason_but_without_its_password(
    tmp_path: Path, url: str, reason: str
) -> None:
    url = url.replace("NOBODYS", str(free_port()))
    variables = environment(tmp_path, DATABASE_URL=url)
    sentence = serve(variables, "--bind", f"127.0.0.1:{free_port()}")
    assert sentence.startswith("DATABASE_URL names a database that fails: ")
    assert reason in sentence
    assert sentence.endswith(". Write the URL of a database that answers.")
    assert sentence.count("\n") == 0


def test_a_command_without_its_database_is_told_why(tmp_path: Path) -> None:
    variables = environment(tmp_path, DATABASE_URL="sqlite:////no/such/folder/db")
    assert "its folder does not exist" in refusal_of(manage(variables, "migrate"))


def test_a_second_process_without_redis_is_refused(make_site: MakeSite) -> None:
    site = make_site(command=("manage.py", "run", "--demo", "--bind", "{bind}"))
    assert Person(site).get("/videos/live-demo/").status == 200, "the demo was made before"
    sentence = serve(site.variables, "--bind", f"127.0.0.1:{free_port()}")
    assert "REDIS_URL" in sentence
    assert site.servers[0].status("/readyz") == 200
    # A port that is taken is told as that.
    site.stop()
    site.restart()
    assert site.servers[0].status("/readyz") == 200


def hypercorn(variables: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "hypercorn", "-c", "hypercorn.toml", *arguments,
         "streamsite.asgi:application"],
        cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=SECONDS_TO_START, check=False,
    )  # fmt: skip


def test_plain_hypercorn_serves_the_site(make_site: MakeSite) -> None:
    command = ("-m", "hypercorn", "-c", "hypercorn.toml", "streamsite.asgi:application", "--bind",
               "{bind}")  # fmt: skip
    site = make_site(command=command)
    slug = site.video()
    assert Person(site).open(slug).say(slug, "hello").status == 303
    assert site.log().count("Running on") == 1


def test_hypercorns_own_workers_without_redis_are_refused(make_site: MakeSite) -> None:
    site = make_site()
    site.stop()
    done = hypercorn(site.variables, "--workers", "2", "--bind", f"127.0.0.1:{free_port()}")
    assert "Traceback" not in done.stdout
    # The parent ends, and with 0: it does not tell how its workers ended.
    assert "REDIS_URL is not set, and another process serves" in done.stdout


def test_outside_debug_the_site_serves_what_collectstatic_gathered(
    make_site: MakeSite, tmp_path: Path
) -> None:
    variables = environment(
        tmp_path, DEBUG="off", SECRET_KEY=KEY, HTTPS="off", DATABASE_URL=f"sqlite:///{tmp_path}/d"
    )
    assert manage(variables, "migrate", "--verbosity", "0").returncode == 0
    bind = ("--bind", f"127.0.0.1:{free_port()}")
    assert "collectstatic" in serve(variables, *bind)
    assert manage(variables, "collectstatic", "--noinput", "--verbosity", "0").returncode == 0
    site = make_site(
        DEBUG="off", SECRET_KEY=KEY, HTTPS="off", DATA_DIR=variables["DATA_DIR"],
    )  # fmt: skip
    slug = site.video()
    person = Person(site)
    page = person.get(f"/videos/{slug}/")
    assert page.status == 200
    sources = [
        link.attributes[name] for link in page.html for name in ("src", "href")
        if link.attributes.get(name, "").startswith("/static/")
    ]  # fmt: skip
    assert sources
    for source in sources:
        asset = person.get(source)
        assert asset.status == 200, source
        assert "immutable" in asset.headers["cache-control"]
    for line in site.log().splitlines():
        assert "level" in json.loads(line), "for programs, outside DEBUG"
    csp = page.headers["content-security-policy"]
    assert "unsafe" not in csp
    assert "script-src 'self'" in csp


def test_postgresql_that_is_gone_is_noticed_and_serving_bounds_statements(
    databases: Databases, tmp_path: Path
) -> None:
    def connected(query: str) -> list[dict[str, str]]:
        variables = environment(tmp_path, DATABASE_URL=databases.new_postgres() + query)
        with closing(Remote(variables, tmp_path / "log")) as remote:
            return [remote.call(how_it_is_connected, serves) for serves in (False, True)]

    command, serving = connected("")
    assert command["tcp_user_timeout"] == "8000"
    assert (command["keepalives_idle"], command["keepalives_count"]) == ("5", "3")
    assert command["connect_timeout"] == "5"
    assert (command["statement_timeout"], serving["statement_timeout"]) == ("0", "30s")
    _, own = connected("?tcp_user_timeout=3000&options=-c%20statement_timeout%3D7s")
    assert (own["tcp_user_timeout"], own["statement_timeout"]) == ("3000", "7s")


def how_it_is_connected(serves: bool) -> dict[str, str]:
    from django.db import connection

    from streamsite import lifespan

    if serves:
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]
        lifespan._bound_statements()
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        (bound,) = cursor.fetchone()
    found: dict[str, str] = connection.connection.info.get_parameters()
    return found | {"statement_timeout": bound}


def test_sqlite_runs_in_wal_mode(make_site: MakeSite) -> None:
    site = make_site()
    path = site.variables["DATABASE_URL"].removeprefix("sqlite:///")
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        connection.close()
