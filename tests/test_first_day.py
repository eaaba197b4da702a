"""`check --deploy` says what a site of real people still lacks, and is silent when it is ready."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.checks import CheckMessage, run_checks
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import reverse

from tests.servers import ROOT, environment, manage

KEY = "k9Xw_" + "".join(chr(97 + n % 26) for n in range(60))
# What somebody writes who has read docs/first-day.md (with TRUSTED_PROXIES for a proxy before it).
REAL = {
    "DEBUG": "off",
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": "video.example",
    "TRUSTED_PROXIES": "1",
    "ADMIN_PATH": "control-room/",
}
RIGHT: dict[str, Any] = {
    "DEBUG": False,
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": ["video.example"],
    "TRUSTED_PROXIES": 1,
    "TLS": None,
    "ADMIN_PATH": "control-room/",
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "SESSION_COOKIE_NAME": "__Host-sessionid",
    "CSRF_COOKIE_NAME": "__Host-csrftoken",
    "RATE_ADDRESS": settings.RATE_VIEWER,
    "SOCKETS_PER_ADDRESS": 200,
}


def warned(**wrong: Any) -> list[CheckMessage]:
    """Our warnings where everything is right but this."""
    reverse("admin:index")  # the paths are read once, and not with what is set here
    with override_settings(**(RIGHT | wrong)):
        found = run_checks(include_deployment_checks=True)
    return [message for message in found if message.id and message.id.startswith("streamsite.")]


@pytest.mark.parametrize(
    ("wrong", "id_", "write"),
    [
        ({"DEBUG": True}, "W001", "DEBUG=off"),
        ({"SECRET_KEY": "change-me-" + KEY}, "W002", "SECRET_KEY="),
        ({"SECRET_KEY": "abcdefgh" * 8}, "W002", "SECRET_KEY="),
        ({"ALLOWED_HOSTS": ["localhost", "127.0.0.1"]}, "W003", "ALLOWED_HOSTS=video.example"),
        ({"ALLOWED_HOSTS": ["video.example", "*"]}, "W003", "ALLOWED_HOSTS=video.example"),
        ({"TRUSTED_PROXIES": 0}, "W004", "TRUSTED_PROXIES=1"),
        ({"PROCESSES": 2}, "W005", "REDIS_URL=redis://"),
        ({"SESSION_COOKIE_SECURE": False}, "W006", "HTTPS=on"),
        ({"CSRF_COOKIE_HTTPONLY": False}, "W006", "HTTPS=on"),
        ({"SESSION_COOKIE_SAMESITE": "None"}, "W006", "HTTPS=on"),
        ({"SESSION_COOKIE_NAME": "sessionid"}, "W006", "HTTPS=on"),
        ({"ADMIN_PATH": "admin/"}, "W007", "ADMIN_PATH=control-room/"),
        ({"LOGIN_ATTEMPTS": None}, "W010", "Leave LOGIN_ATTEMPTS out"),
        ({"RATE_VIEWER": None}, "W010", "RATE_VIEWER=5/10"),
        ({"ADMIN_SECOND_FACTOR": "off"}, "W011", "ADMIN_SECOND_FACTOR=required"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(
    db: None, wrong: dict[str, Any], id_: str, write: str
) -> None:
    (message,) = warned(**wrong)
    assert message.id == f"streamsite.{id_}"
    assert write in str(message.hint)


@pytest.mark.parametrize(
    "also_right",
    [
        {},
        {"BIND": "0.0.0.0:8000", "TRUSTED_PROXIES": 0},  # no proxy at all
        {"TLS": object(), "TRUSTED_PROXIES": 0},  # TLS by serve, at the address of --bind
        {"PROCESSES": 3, "REDIS": object()},
        {"ADMIN_SECOND_FACTOR": "required"},
    ],
)
def test_a_site_that_is_ready_is_told_nothing(db: None, also_right: dict[str, Any]) -> None:
    assert warned(**also_right) == []


def test_a_misspelt_variable_is_told_with_the_name_that_is_meant(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE_VEIWER", "5/10")
    monkeypatch.setenv("SOMETHING_ELSE", "of the machine")
    (message,) = warned()
    assert message.id == "streamsite.W012"
    assert "Nothing reads RATE_VEIWER:" in message.msg
    assert "Write RATE_VIEWER " in str(message.hint)


def test_the_key_of_development_is_not_taken_for_a_secret(db: None, tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text(KEY)
    (message,) = warned(DATA_DIR=tmp_path)
    assert message.id == "streamsite.W002"
    (tmp_path / "secret_key").write_text("another")
    assert warned(DATA_DIR=tmp_path) == []


def test_accounts_of_the_demo_with_known_passwords_are_named(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    User.objects.create_user("admin", password="a phrase of DEMO_PASSWORD")
    User.objects.create_user("moderator", password="moderator")
    User.objects.create_user("viewer", password="viewer", is_active=False)
    User.objects.create_user("somebody", password="password")  # not made by seed_demo
    (message,) = warned()
    assert (message.id, message.msg.rpartition(": ")[2]) == ("streamsite.W008", "moderator.")
    assert "manage.py changepassword moderator" in str(message.hint)
    monkeypatch.setenv("DEMO_PASSWORD", "a phrase of DEMO_PASSWORD")
    assert warned()[0].msg.endswith(": admin, moderator.")
    for user in User.objects.filter(username__in=["admin", "moderator"]):
        user.set_password("what nobody guesses 7")
        user.save()
    assert warned() == []
    with CaptureQueriesContext(connection) as queries:
        run_checks()
    assert not queries.captured_queries, "only asked for by --deploy"


def test_the_command_refuses_a_bare_environment_and_takes_that_of_a_real_site(
    tmp_path: Path,
) -> None:
    check = ("check", "--deploy", "--fail-level", "WARNING")
    done = manage(environment(tmp_path, **REAL), *check)
    assert done.returncode == 0, done.stdout
    # Everything wrong that can be, and a database that does not answer.
    wrong = {
        "DEBUG": "off",
        "SECRET_KEY": f"insecure-{KEY}",
        "HTTPS": "off",
        "PROCESSES": "2",
        "RATE_VIEWER": "off",
        "ADMIN_SECOND_FACTOR": "off",
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",  # SQLite is looked at before
    }
    done = manage(environment(tmp_path, **wrong), *check)
    assert done.returncode == 1
    told = set(re.findall(r"\(streamsite\.(W[0-9]+)\)", done.stdout))
    assert told == {f"W{n:03}" for n in (2, 3, 4, 5, 6, 7, 9, 10, 11)}
    assert "Traceback" not in done.stdout


def test_the_list_for_people_has_every_check() -> None:
    in_code = set(re.findall(r'"(W[0-9]{3})"', (ROOT / "streamsite/checks.py").read_text()))
    listed = re.findall(r"streamsite\.(W[0-9]{3})", (ROOT / "docs/first-day.md").read_text())
    assert sorted(set(listed)) == sorted(in_code)
