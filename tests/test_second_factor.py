"""Admin behind a second factor, and under a path of its own."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.test.utils import override_settings
from django_otp.plugins.otp_totp.models import TOTPDevice

from tests import world
from tests.client import Person, Response
from tests.codes import App, fail_often, forget_wrong_codes
from tests.conftest import MakeSite
from tests.servers import Site

ADMIN = "/back/control-room/"
ASK, SET_UP = f"{ADMIN}second-factor/", f"{ADMIN}second-factor/setup/"


@pytest.fixture(scope="module")
def site(make_site_for_module: MakeSite) -> Iterator[Site]:
    found = make_site_for_module(ADMIN_SECOND_FACTOR="required", ADMIN_PATH="back/control-room")
    yield found
    assert not found.tracebacks


def submit(person: Person, path: str, code: str) -> Response:
    token = person.get(path).html.having("name", "csrfmiddlewaretoken")
    assert token is not None
    person.csrf = token.attributes["value"]
    return person.post(path, {"code": code})


def set_up(person: Person) -> tuple[App, list[str]]:
    page = person.get(SET_UP)
    assert page.status == 200
    key = page.html.of_class("key")
    assert key is not None
    app = App(key.text)
    done = submit(person, SET_UP, app.code())
    assert done.status == 200, done.text
    codes = done.html.of_class("codes")
    assert codes is not None
    return app, [item.text for item in codes.elements]


@pytest.fixture(scope="module")
def rita(site: Site) -> str:
    """A superuser of this file alone."""
    site.call(world.make_account, "rita", is_staff=True, is_superuser=True)
    return "rita"


def test_staff_set_a_second_factor_up_before_admin_opens_and_show_it_from_then_on(
    site: Site, rita: str
) -> None:
    person = Person(site).sign_in(rita)
    # Whatever page of admin: it leads to the set-up, and back.
    changelist = f"{ADMIN}videos/video/"
    for path in (ADMIN, changelist, f"{ADMIN}auth/user/add/"):
        there = person.get(person.get(path).headers["location"]).headers["location"]
        assert there == f"{SET_UP}?next={quote(path, safe='')}"
    video = str(site.call(world.video_pk, "elsewhere"))
    person.csrf = person.cookies["csrftoken"]
    deletion = {"action": "delete_selected", "_selected_action": video, "post": "yes"}
    assert person.post(changelist, deletion).status == 302
    assert site.call(world.video_pk, "elsewhere") == int(video)
    assert submit(person, SET_UP, "000000").status == 200  # wrong, unless in a million
    assert person.get(ADMIN).status == 302
    site.call(forget_wrong_codes)
    app, backup = set_up(person)
    assert len(set(backup)) == 10
    assert person.get(changelist).status == 200

    # A new session: after the password, a code. The password alone does not get a new key.
    again = Person(site).signed_in(rita)
    assert again.get(SET_UP).headers["location"] == f"{ASK}?next={quote(SET_UP, safe='')}"
    assert again.get(again.get(ADMIN).headers["location"]).headers["location"].startswith(ASK)
    code = app.code()
    assert submit(again, f"{ASK}?next={changelist}", code).headers["location"] == changelist
    assert again.get(changelist).status == 200
    # Each code once, and to no other site.
    third = Person(site).signed_in(rita)
    refused = submit(third, ASK, code)
    assert refused.status == 200
    assert "This code is not right." in refused.text
    # Who guesses waits, and so does the right code meanwhile.
    site.call(fail_often)
    told = submit(third, ASK, app.code()).text
    assert re.search(r"You can try again in (2[0-9]|3[0-2]) seconds\.", told)
    assert third.get(ADMIN).status == 302
    # A backup code opens once, in any spelling.
    written = f"{backup[0][:4]}-{backup[0][4:]} ".upper()
    answer = submit(third, f"{ASK}?next=https://elsewhere.example/", written)
    assert answer.headers["location"] == ADMIN
    assert "9 are left" in third.get(ADMIN).text
    assert "This code is not right." in submit(Person(site).signed_in(rita), ASK, backup[0]).text
    # A new key ends the old one, its backup codes, and what was opened with them, but here.
    set_up(third)
    assert third.get(ADMIN).status == 200
    assert again.get(ADMIN).status == 302
    assert "This code is not right." in submit(again, ASK, backup[1]).text


def removes(person: Person, name: str) -> bool:
    """Choose "Remove the second factor" for this account; whether there is such a choice."""
    users = f"{ADMIN}auth/user/"
    token = person.get(users).html.having("name", "csrfmiddlewaretoken")
    assert token is not None
    person.csrf = token.attributes["value"]
    ticked = str(person.site.call(pk_of, name))
    action = {"action": "remove_second_factor", "_selected_action": ticked}
    return person.post(users, action).status == 302


def test_a_lost_second_factor_is_removed_by_a_superuser_or_at_the_command_line(site: Site) -> None:
    may = ["view_user", "change_user"]
    site.call(world.make_account, "lotte", password=False, may=may, is_staff=True)
    site.call(world.make_account, "ines", password=False, is_staff=True, is_superuser=True)
    lotte, ines = Person(site).signed_in("lotte"), Person(site).signed_in("ines")
    _app, backup = set_up(lotte)
    set_up(ines)
    by_backup = Person(site).signed_in("lotte")
    assert submit(by_backup, ASK, backup[0]).status == 302
    assert not removes(lotte, "ines")  # who may change users may not become one of them
    assert [person.get(ADMIN).status for person in (lotte, by_backup, ines)] == [200, 200, 200]
    assert removes(ines, "lotte")
    assert "1 was removed." in ines.get(f"{ADMIN}auth/user/").text
    # Sessions that were open count no more.
    assert [person.get(ADMIN).status for person in (lotte, by_backup, ines)] == [302, 302, 200]

    assert site.command("remove_second_factor", "ines")[0] == 0
    assert ines.get(ADMIN).status == 302
    code, printed = site.command("remove_second_factor", "ines")
    assert code != 0
    assert "has no second factor" in printed
    assert "Write the name of one" in site.command("remove_second_factor", "nobody")[1]


def pk_of(name: str) -> int:
    return User.objects.get(username=name).pk


def test_admin_is_at_its_own_path_and_everything_leads_there(site: Site, rita: str) -> None:
    alice = Person(site).signed_in("alice")
    assert alice.get("/admin/").status == 404
    assert ADMIN not in alice.get("/").text
    assert ADMIN in Person(site).signed_in(rita).get("/").text
    # Who is no staff gets no further than the form, also at the pages of the second factor.
    for path in (ADMIN, ASK, SET_UP):
        assert alice.get(path).headers["location"].startswith(f"{ADMIN}login/?next=")
    # Long bodies are taken there, and there alone (streamsite/bodies.py).
    body = b"x" * (1024 * 1024 + 1)
    add = "videos/video/add/"
    assert Person(site).signed_in(rita).request("POST", f"{ADMIN}{add}", body).status != 413
    # Announced only: the answer does not wait for what it refuses, and ends the connection.
    length = str(len(body))
    assert (
        Person(site).signed_in(rita).request("POST", f"/admin/{add}", Content_Length=length).status
        == 413
    )
    assert alice.request("POST", f"{ADMIN}{add}", Content_Length=length).status == 413


# --- the other policies ---------------------------------------------------------------------------


@pytest.fixture
def bob(people: None) -> User:
    """Staff with a second factor."""
    bob = User.objects.create_user("bob", is_staff=True, is_superuser=True)
    TOTPDevice.objects.create(user=bob, name="app")
    return bob


@pytest.mark.parametrize(
    ("policy", "with_one", "without"), [("off", 200, 200), ("optional", 302, 200)]
)
def test_where_it_is_not_required_it_is_asked_of_who_has_one(
    bob: User, policy: str, with_one: int, without: int
) -> None:
    client = Client()
    with override_settings(ADMIN_SECOND_FACTOR=policy):
        client.force_login(bob)
        assert client.get("/admin/").status_code == with_one
        client.force_login(User.objects.get(username="root"))
        assert client.get("/admin/").status_code == without
        setup = client.get("/admin/second-factor/setup/")
        assert setup.status_code == (404 if policy == "off" else 200)
        shown = b"second-factor" in client.get("/admin/").content
        assert shown is (policy != "off")


def test_a_key_that_nobody_confirmed_counts_for_nothing_and_is_not_kept_for_ever(
    people: None,
) -> None:
    root = User.objects.get(username="root")
    client = Client()
    client.force_login(root)
    client.get("/admin/second-factor/setup/")
    first = TOTPDevice.objects.get(user=root)
    assert client.get("/admin/").status_code == 200
    client.get("/admin/second-factor/setup/")
    assert TOTPDevice.objects.get(user=root).key == first.key
    TOTPDevice.objects.update(created_at=first.created_at.replace(year=2025))
    client.get("/admin/second-factor/setup/")
    assert TOTPDevice.objects.get(user=root).key != first.key


def test_no_page_of_admin_shows_keys(bob: User) -> None:
    client = Client()
    with override_settings(ADMIN_SECOND_FACTOR="off"):
        client.force_login(bob)
        assert client.get("/admin/otp_totp/totpdevice/").status_code == 404
        assert client.get("/admin/otp_static/staticdevice/").status_code == 404
