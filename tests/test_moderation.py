"""Removing and restoring: who may, what changes, and what each audience is shown."""

import uuid

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from comments import services
from comments import stream as comment_stream
from comments.errors import Code, Refused
from comments.identity import Actor, actor_of_account
from comments.models import Comment, Stream
from comments.services import moderation
from tests import world
from tests.client import Person
from tests.page import Row, parse
from tests.servers import Site


@pytest.fixture
def comment(stream: Stream, anon: Actor) -> Comment:
    return services.post(anon, stream.pk, "the words", str(uuid.uuid4()))


def rows_of(comment: Comment) -> tuple[Row, Row]:
    """The comment as the public's page and as the moderators' page have it."""
    change = comment_stream.render(Comment.objects.for_fragments().get(pk=comment.pk))
    public, staff = (Row.of(parse(html).elements[0]) for html in (change.public, change.staff))
    return public, staff


def test_a_removal_takes_the_next_number_and_keeps_the_place(comment: Comment, mona: Actor) -> None:
    removed = services.remove(mona, comment.stream_id, comment.number)
    assert (removed.number, removed.change) == (1, 2)
    restored = services.restore(mona, comment.stream_id, comment.number)
    assert (restored.number, restored.change, restored.removed_by) == (1, 3, "")


def test_the_public_is_shown_nothing_of_a_removed_comment(comment: Comment, mona: Actor) -> None:
    services.remove(mona, comment.stream_id, comment.number)
    public, staff = rows_of(comment)
    assert public.hidden
    assert not public.html.children
    assert "words" not in str(public.html)
    assert (staff.hidden, staff.body, staff.state) == (False, "the words", "removed")
    removal = staff.html.of_class("comment-removal")
    assert removal is not None
    assert removal.attributes["data-by"] == "mona"


def test_both_audiences_see_a_restored_comment_alike(comment: Comment, mona: Actor) -> None:
    services.remove(mona, comment.stream_id, comment.number)
    services.restore(mona, comment.stream_id, comment.number)
    public, staff = rows_of(comment)
    assert public == staff
    assert (public.hidden, public.body) == (False, "the words")


def test_a_viewer_removes_their_own_and_is_named_as_who_did(comment: Comment, anon: Actor) -> None:
    assert services.remove(anon, comment.stream_id, comment.number).removed_by == "Anon"


@pytest.mark.parametrize("verb", [services.remove, services.restore])
def test_only_moderators_of_this_video_touch_others_comments(
    comment: Comment, alice: Actor, max: Actor, verb: object
) -> None:
    for actor in (alice, max, Actor(None)):
        with pytest.raises(Refused) as refused:
            verb(actor, comment.stream_id, comment.number)  # type: ignore[operator]
        assert refused.value.code in {Code.NOT_ALLOWED, Code.SIGN_IN_REQUIRED}
    comment.refresh_from_db()
    assert (comment.state, comment.change) == (Comment.State.VISIBLE, 1)


def test_the_permission_makes_a_moderator_of_every_video(comment: Comment, alice: Actor) -> None:
    assert alice.user is not None
    alice.user.user_permissions.add(Permission.objects.get(codename="moderate_comment"))
    again = actor_of_account(User.objects.get(username="alice"))
    assert services.remove(again, comment.stream_id, comment.number).is_removed


def test_who_was_deactivated_moderates_no_more(comment: Comment, mona: Actor) -> None:
    assert mona.user is not None
    mona.user.is_active = False
    with pytest.raises(Refused):
        services.remove(mona, comment.stream_id, comment.number)


@pytest.mark.parametrize("number", [None, True, 1.0, [1], {"a": 1}, "x", "-1", "1" * 19])
def test_what_is_no_number_is_malformed(comment: Comment, mona: Actor, number: object) -> None:
    with pytest.raises(Refused) as refused:
        services.remove(mona, comment.stream_id, number)
    assert refused.value.code == Code.MALFORMED


@pytest.mark.parametrize("number", [0, -1, 2, 2**63, 2**200, "2"])
def test_a_number_without_comment_is_not_found(
    comment: Comment, mona: Actor, number: object
) -> None:
    with pytest.raises(Refused) as refused:
        services.remove(mona, comment.stream_id, number)
    assert refused.value.code == Code.NOT_FOUND


@pytest.mark.parametrize("verb", [services.remove, services.restore])
def test_what_is_deleted_for_good_meanwhile_is_not_found(
    comment: Comment, mona: Actor, verb: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = moderation._comment

    def found_and_deleted(*place: object) -> Comment:
        found = find(*place)  # type: ignore[arg-type]
        Comment.objects.filter(pk=found.pk).delete()  # as housekeeping may, before it is locked
        return found

    monkeypatch.setattr(moderation, "_comment", found_and_deleted)
    with pytest.raises(Refused) as refused:
        verb(mona, comment.stream_id, comment.number)  # type: ignore[operator]
    assert refused.value.code == Code.NOT_FOUND


def test_admin_cannot_write_add_or_delete_comments(comment: Comment, root: Actor) -> None:
    client = Client()
    assert root.user is not None
    client.force_login(root.user)
    url = f"/admin/comments/comment/{comment.pk}/change/"
    assert client.get(url).status_code == 200
    client.post(url, {"body": "other words", "state": "removed"})
    assert client.get("/admin/comments/comment/add/").status_code == 403
    assert client.post(f"/admin/comments/comment/{comment.pk}/delete/").status_code == 403
    client.post(
        "/admin/comments/comment/", {"action": "delete_selected", "_selected_action": comment.pk}
    )
    comment.refresh_from_db()
    assert (comment.body, comment.state) == ("the words", "visible")


def test_the_page_that_deletes_a_video_counts_its_comments_and_lists_none(
    comment: Comment, root: Actor
) -> None:
    client = Client()
    assert root.user is not None
    client.force_login(root.user)
    video = comment.stream.video
    url = f"/admin/videos/video/{video.pk}/delete/"
    page = client.get(url).content.decode()
    assert "Comments: 1" in page
    assert str(video) in page
    assert "the words" not in page
    assert client.post(url, {"post": "yes"}).status_code == 302
    assert not Comment.objects.exists()


@pytest.mark.parametrize("model", ["comment", "viewer", "stream"])
def test_admins_lists_can_be_filtered_and_searched(
    comment: Comment, root: Actor, model: str
) -> None:
    client = Client()
    assert root.user is not None
    client.force_login(root.user)
    where = "/admin/videos/video/" if model == "stream" else f"/admin/comments/{model}/"
    for query in ("", "?q=words", "?q=%00", "?o=1.2.3", "?p=9"):
        assert client.get(where + query, follow=True).status_code == 200


# --- On open pages ------------------------------------------------------------------------------


async def test_a_removal_leaves_every_open_page_and_stays_on_moderators_pages(site: Site) -> None:
    slug = site.video()
    people = [Person(site, server=n % len(site.servers)) for n in range(4)]
    author, reader, other, mona = people
    mona.sign_in("mona")
    for person in people:
        person.open(slug)
    assert (mona.page.staff, reader.page.staff) == (True, False)
    async with (
        author.socket(slug) as writing,
        reader.socket(slug) as reading,
        other.socket(slug) as also,
        mona.socket(slug) as moderating,
    ):
        number = (await writing.say("regrettable")).number
        for socket in (writing, reading, also, moderating):
            await socket.sees("regrettable")
        assert (await moderating.ask("remove", number=number)).is_ack
        for socket in (writing, reading, also):
            await socket.until(lambda page=socket.page: page.bodies == [], "its removal")  # type: ignore[misc]
            assert "regrettable" not in socket.frames[-1]
        await moderating.until(
            lambda: [row.state for row in mona.page.shown] == ["removed"], "the mark"
        )
        assert mona.page.bodies == ["regrettable"]
        assert (await moderating.ask("restore", number=number)).is_ack
        for socket in (writing, reading, also, moderating):
            await socket.until(
                lambda page=socket.page: [r.state for r in page.shown] == ["visible"],  # type: ignore[misc]
                "its return",
            )


async def test_bulk_removal_in_admin_reaches_every_open_page(site: Site) -> None:
    slug, reader, author = site.video(), Person(site), Person(site)
    numbers = []
    for n in range(3):
        answer = author.open(slug).say(slug, f"line {n}")
        numbers.append(int(answer.headers["location"].partition("#c-")[2]))
    reader.open(slug)
    root = Person(site).signed_in("root")
    page = root.get("/admin/comments/comment/").html.having("name", "csrfmiddlewaretoken")
    assert page is not None
    root.csrf = page.attributes["value"]
    chosen = site.call(world.ids_of, slug, *numbers[:2])
    async with reader.socket(slug) as socket:
        fields = "&".join(f"_selected_action={pk}" for pk in chosen)
        body = f"csrfmiddlewaretoken={root.csrf}&action=remove_comments&{fields}"
        type_ = "application/x-www-form-urlencoded"
        response = root.request(
            "POST", "/admin/comments/comment/", body.encode(), Content_Type=type_
        )
        assert response.status == 302
        await socket.until(lambda: reader.page.bodies == ["line 2"], "the bulk removal")


def test_admin_leads_to_a_comment_however_old_it_is(site: Site) -> None:
    slug = site.video()
    site.call(world.write_many, slug, 60)
    root = Person(site).signed_in("root")
    stream = site.call(world.stream_of, slug)["id"]
    listed = root.get(f"/admin/comments/comment/?stream__id__exact={stream}").text
    path = f"/videos/{slug}/comments/?before=8#c-7"
    assert f'href="{path}"' in listed
    rows = root.get(path.partition("#")[0]).html.having("id", "comments")
    assert rows is not None
    assert [row.attributes["id"] for row in rows.elements] == [f"c-{n}" for n in range(1, 8)]


async def test_a_page_opened_later_has_no_trace_of_what_was_removed(site: Site) -> None:
    slug, author = site.video(), Person(site)
    author.open(slug).say(slug, "regrettable")
    mona = Person(site).signed_in("mona").open(slug)
    assert mona.act(slug, "remove", number="1").status == 303
    reader = Person(site)
    html = reader.get(f"/videos/{slug}/").text
    older = reader.get(f"/videos/{slug}/comments/").text
    assert "regrettable" not in html + older
    assert mona.open(slug).page.bodies == ["regrettable"]
    assert "regrettable" in mona.get(f"/videos/{slug}/comments/").text


async def test_a_page_that_was_away_is_told_of_the_removal_and_not_of_the_words(
    site: Site,
) -> None:
    slug, author, away = site.video(), Person(site), Person(site)
    author.open(slug).say(slug, "first words")
    away.open(slug)
    author.say(slug, "words that come and go")
    mona = Person(site).signed_in("mona").open(slug)
    mona.act(slug, "remove", number="1")
    mona.act(slug, "remove", number="2")
    async with away.socket(slug) as socket:
        await socket.reaches(4)
        assert away.page.bodies == []
        assert not any("words" in frame for frame in socket.frames)
