"""What the cards of the list say about comments: true, in one query, however many there are."""

import re
import uuid

from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from comments.models import Comment, Stream, Viewer
from comments.templatetags.comment_counts import COUNTED, comment_counts, of
from tests import world
from tests.browser import past
from tests.client import Person
from tests.servers import Site
from videos.models import Video


def write(stream: Stream, count: int, *, removed: int = 0) -> None:
    """`count` comments, of which the last `removed` are removed; quicker than through the door."""
    author = Viewer.objects.create()
    Comment.objects.bulk_create(
        Comment(
            stream=stream,
            number=number,
            change=number,
            author=author,
            key=uuid.uuid4(),
            author_name="Somebody",
            body="hello",
            state="removed" if number > count - removed else "visible",
            posted_at=timezone.now(),
        )
        for number in range(1, count + 1)
    )


def test_a_card_says_how_many_comments_there_are_to_be_read(site: Site) -> None:
    slug, silent = site.video(), site.video()
    site.call(past.write, slug, 3)
    reader = Person(site)
    assert said_in(reader.get("/").text, slug) == "3 comments"
    Person(site).sign_in("mona").open(slug).act(slug, "remove", number="1")
    assert said_in(reader.get("/").text, slug) == "2 comments"
    assert said_in(reader.get("/").text, silent) == ""


def said_in(page: str, slug: str) -> str:
    [card] = [card for card in page.split("<article") if f'href="/videos/{slug}/"' in card]
    found = re.search(r'<span class="card-count">(.*?)</span>', card)
    return found[1] if found else ""


def test_one_query_counts_for_all_and_not_without_end(
    people: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for slug in ("one", "few", "many", "mixed", "fewer", "gone"):
        world.make_video(slug)
    streams = {stream.video.slug: stream for stream in Stream.objects.select_related("video")}
    write(streams["one"], 3, removed=2)
    write(streams["few"], COUNTED - 1)
    write(streams["many"], COUNTED + 500)
    write(streams["mixed"], COUNTED + 150, removed=150)
    write(streams["fewer"], COUNTED + 150, removed=151)
    write(streams["gone"], 4, removed=4)
    videos = list(Video.objects.all())
    with django_assert_num_queries(1):
        counts = comment_counts(videos)
    said = {video.slug: of(counts, video) for video in videos}
    assert said == {
        "one": "1 comment",
        "few": "999 comments",
        "many": "1,000+ comments",
        "mixed": "1,000+ comments",
        "fewer": "999 comments",
        "gone": "",
        "elsewhere": "",
    }
