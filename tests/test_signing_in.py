"""Wrong passwords: counted, bounded, and forgotten; nothing of them is in the log."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import Client
from django.test.utils import override_settings

from tests import world
from tests.client import Person, Response, new_address
from tests.conftest import MakeSite
from tests.servers import Site

DOORS = ["/accounts/login/", "/admin/login/"]
WRONG = "a-wrong-phrase-7"


@pytest.fixture(scope="module")
def site(make_site_for_module: MakeSite) -> Iterator[Site]:
    found = make_site_for_module(LOGIN_ATTEMPTS="2", LOGIN_COOLOFF="120")
    found.call(world.make_account, "bea", is_staff=True)
    yield found
    assert not found.tracebacks


def try_to_sign_in(person: Person, door: str, name: str, password: str, **headers: str) -> Response:
    token = person.get(door).html.having("name", "csrfmiddlewaretoken")
    assert token is not None
    person.csrf = token.attributes["value"]
    return person.post(door, {"username": name, "password": password}, **headers)


def attempts_of(name: str, address: str) -> list[dict[str, str]]:
    from axes.models import AccessAttempt
    from django.http import HttpRequest

    from streamsite.signin import client_address

    request = HttpRequest()
    request.META["REMOTE_ADDR"] = request.META["HTTP_X_FORWARDED_FOR"] = address
    kept = AccessAttempt.objects.filter(username=name, ip_address=client_address(request))
    return [{key: str(value) for key, value in row.items()} for row in kept.values()]


def attempts_begin_earlier(seconds: int) -> None:
    from datetime import timedelta

    from axes.models import AccessAttempt

    for attempt in AccessAttempt.objects.all():
        earlier = attempt.attempt_time - timedelta(seconds=seconds)
        AccessAttempt.objects.filter(pk=attempt.pk).update(attempt_time=earlier)


def test_after_some_wrong_passwords_the_right_one_is_refused_too_and_told_for_how_long(
    site: Site,
) -> None:
    bea = Person(site)
    assert try_to_sign_in(bea, DOORS[0], "bea", WRONG).status == 200
    refused = try_to_sign_in(bea, DOORS[1], "bea", WRONG)  # both doors count as one
    for door in DOORS:
        assert refused.status == 429
        assert "You can try again in 2 minutes." in refused.text
        assert 60 < int(refused.headers["retry-after"]) <= 120
        assert "no-store" in refused.headers["cache-control"]
        refused = try_to_sign_in(bea, door, "bea", world.PASSWORD)
    assert refused.status == 429
    # Another name there, and the same name elsewhere, are not locked.
    assert try_to_sign_in(bea, DOORS[0], "alice", WRONG).status == 200
    assert try_to_sign_in(Person(site), DOORS[1], "bea", world.PASSWORD).status == 302


def test_tries_that_are_turned_away_do_not_make_the_wait_longer(site: Site) -> None:
    bea = Person(site)
    door = DOORS[0]
    for _ in range(2):
        try_to_sign_in(bea, door, "bea", WRONG)
    site.call(attempts_begin_earlier, 70)
    refused = try_to_sign_in(bea, door, "bea", WRONG)
    assert 40 < int(refused.headers["retry-after"]) <= 50
    assert f"You can try again in {refused.headers['retry-after']} seconds." in refused.text
    site.call(attempts_begin_earlier, 51)
    assert try_to_sign_in(bea, door, "bea", world.PASSWORD).status == 302


def test_of_guesses_that_come_at_once_no_more_are_looked_at(site: Site) -> None:
    address = new_address()
    crowd = [Person(site, address=address) for _ in range(6)]
    with ThreadPoolExecutor(len(crowd)) as threads:
        answers = list(threads.map(lambda p: try_to_sign_in(p, DOORS[0], "max", WRONG), crowd))
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) <= 1, "the others are locked out, or have no turn"
    assert set(statuses) <= {200, 429, 503}
    (row,) = site.call(attempts_of, "max", address)
    assert row["failures_since_start"] == "2"


def test_the_right_password_clears_the_count_of_its_own_address(site: Site) -> None:
    bea, mallory = Person(site), Person(site)
    for person in (bea, mallory):
        assert try_to_sign_in(person, DOORS[0], "bea", WRONG).status == 200
        assert len(site.call(attempts_of, "bea", person.address)) == 1
    assert try_to_sign_in(bea, DOORS[0], "bea", world.PASSWORD).status == 302
    assert site.call(attempts_of, "bea", bea.address) == []
    assert len(site.call(attempts_of, "bea", mallory.address)) == 1


def test_a_header_that_the_proxy_did_not_write_makes_nobody_somebody_else(site: Site) -> None:
    """Nor does another browser, nor another address of the same IPv6 network."""
    own = new_address()
    for number in range(2):
        mallory = Person(site, address=f"203.0.113.{number}, {own}")
        agent = {"User_Agent": f"browser {number}", "X_Real_IP": f"203.0.113.{number}"}
        last = try_to_sign_in(mallory, DOORS[0], "alice", WRONG, **agent)
    assert last.status == 429
    for number in range(2):
        mallory = Person(site, address=f"2001:db8:7:7::{number}")
        last = try_to_sign_in(mallory, DOORS[0], "alice", WRONG)
    assert last.status == 429


def test_who_guesses_is_neither_in_the_log_nor_by_address_in_the_database(site: Site) -> None:
    address = "198.51.100.77"
    mallory = Person(site, address=address)
    for _ in range(3):
        try_to_sign_in(mallory, DOORS[1], "Guessed-Name", "Guessed-Password")
    (row,) = site.call(attempts_of, "Guessed-Name", address)
    for secret in (address, "Guessed-Password"):
        assert secret not in str(row)
    assert (row["get_data"], row["post_data"], row["user_agent"]) == ("", "", "")
    log = site.log()
    assert "sign-in: a name is locked for an address, 2 wrong passwords" in log
    for secret in (address, "Guessed-Name", "Guessed-Password", row["ip_address"]):
        assert secret not in log


def test_an_admin_sees_failed_sign_ins_and_lifts_a_lock(site: Site) -> None:
    bea = Person(site)
    for _ in range(2):
        try_to_sign_in(bea, DOORS[0], "bea", WRONG)
    (row,) = site.call(attempts_of, "bea", bea.address)
    root = Person(site).signed_in("root")
    assert "bea" in root.get("/admin/axes/accessattempt/").text
    token = root.get("/admin/").html.having("name", "csrfmiddlewaretoken")
    assert token is not None
    root.csrf = token.attributes["value"]
    path = f"/admin/axes/accessattempt/{row['id']}/"
    assert root.get(f"{path}change/").status == 200
    assert root.post(f"{path}delete/", {"post": "yes"}).status == 302
    assert site.call(attempts_of, "bea", bea.address) == []


def test_the_limit_can_be_off(people: None) -> None:
    client = Client()
    wrong = {"username": "alice", "password": WRONG}
    with override_settings(AXES_FAILURE_LIMIT=1):
        assert client.post(DOORS[0], wrong).status_code == 429
    with override_settings(AXES_FAILURE_LIMIT=1, AXES_ENABLED=False):  # LOGIN_ATTEMPTS=off
        assert client.post(DOORS[0], wrong).status_code == 200
        assert client.post(DOORS[0], wrong | {"password": world.PASSWORD}).status_code == 302
