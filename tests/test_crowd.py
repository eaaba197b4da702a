"""`manage.py crowd`: simulated people on a server of this machine, or a sentence that says what to
write."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.servers import Site


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:8000", "Write scheme, host and port"),
        ("localhost", "Write scheme, host and port"),
        ("http://127.0.0.1:http", "Write scheme, host and port"),
        ("http://127.0.0.1:8000/videos/live-demo/", "Write scheme, host and port"),
        ("http://192.0.2.1:8000", "on this machine"),
        ("https://video.example", "on this machine"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_what_to_write(url: str, says: str) -> None:
    with pytest.raises(CommandError, match=says) as refused:
        call_command("crowd", url=url)
    assert "as in --url http://127.0.0.1:8000." in str(refused.value)


def test_people_come_speak_and_are_counted(sqlite_site: Site) -> None:
    said = StringIO()
    options = {"url": sqlite_site.url, "viewers": 2, "seconds": 1, "stdout": said}
    call_command("crowd", video=sqlite_site.video(), **options)
    assert "1 comments sent: 1 acknowledged, 0 refused, 0 without answer" in said.getvalue()
    assert "2 deliveries, 0 missing, 0 sockets lost" in said.getvalue()
    for video in ("nowhere", "two words"):
        with pytest.raises(CommandError, match="as in --video live-demo"):
            call_command("crowd", video=video, **options)
