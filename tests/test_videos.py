"""Videos: their states and times, what may be uploaded or linked, and how files are served."""

import io
import struct
import zlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from django.utils.csp import CSP
from PIL import Image
from pytest_django.fixtures import Settings

from tests.client import Person
from tests.servers import ROOT, Site
from videos.files import check_poster, check_source_url, check_video
from videos.models import Video
from videos.views import content_policy

CLIP = (ROOT / "videos" / "demo" / "clip.mp4").read_bytes()


def picture(kind: str, size: tuple[int, int] = (64, 36)) -> bytes:
    found = io.BytesIO()
    Image.new("1" if kind == "PNG" else "RGB", size).save(found, kind)
    return found.getvalue()


def picture_with_text() -> bytes:
    """A PNG with more text in it than the library reads, as some programs write it."""
    kind, text = b"zTXt", b"workflow\0\0" + zlib.compress(bytes(1_100_000))
    check = struct.pack(">I", zlib.crc32(kind + text))
    head, rest = picture("PNG")[:33], picture("PNG")[33:]
    return head + struct.pack(">I", len(text)) + kind + text + check + rest


# --- states ---------------------------------------------------------------------------------------


def test_the_times_of_a_video_follow_its_state(transactional_db: None) -> None:
    video = Video.objects.create(slug="talk", title="Talk")
    assert (video.started_at, video.ended_at) == (None, None)
    video.state = Video.State.LIVE
    video.save()
    started = video.started_at
    assert started is not None
    video.state = Video.State.ENDED
    video.save()
    assert (video.started_at, video.ended_at is not None) == (started, True)
    video.state = Video.State.LIVE
    video.save()
    assert (video.started_at, video.ended_at) == (started, None)


def test_the_list_has_live_first_then_the_next_then_the_latest_past(transactional_db: None) -> None:
    now = timezone.now()
    Video.objects.create(slug="old", title="o", state="ended", ended_at=now - timedelta(days=9))
    Video.objects.create(slug="later", title="l", starts_at=now + timedelta(days=2))
    Video.objects.create(slug="live", title="live", state="live")
    Video.objects.create(slug="recent", title="r", state="ended", ended_at=now - timedelta(days=1))
    Video.objects.create(slug="soon", title="s", starts_at=now + timedelta(hours=1))
    slugs = list(Video.objects.listed().values_list("slug", flat=True))
    assert slugs == ["live", "soon", "later", "recent", "old"]


def test_a_video_has_a_file_or_a_url_not_both(transactional_db: None) -> None:
    video = Video(slug="both", title="Both", source_url="https://cdn.example/a.mp4")
    video.source_file = SimpleUploadedFile("clip.mp4", CLIP)
    with pytest.raises(ValidationError, match="not both"):
        video.full_clean()


def test_the_source_of_an_upcoming_video_is_not_in_its_page(sqlite_site: Site) -> None:
    page = Person(sqlite_site).get(f"/videos/{sqlite_site.video('upcoming')}/")
    assert page.status == 200
    assert "<video" not in page.text


# --- uploads and links ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clip.mp4", CLIP),
        ("clip.m4v", CLIP[:64]),
        ("clip.webm", b"\x1a\x45\xdf\xa3" + bytes(60)),
        ("clip.ogv", b"OggS" + bytes(60)),
    ],
)
def test_a_video_file_of_the_named_kind_is_taken(name: str, content: bytes) -> None:
    check_video(SimpleUploadedFile(name, content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clip.mp4", b"<html><script>alert(1)</script></html>"),
        ("clip.mp4", b""),
        ("clip.webm", CLIP),
        ("clip.mp4", b"MZ" + bytes(100)),
        ("clip.exe", CLIP),
    ],
)
def test_a_video_file_that_is_something_else_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(ValidationError, match="not what its name says"):
        check_video(SimpleUploadedFile(name, content))


def test_a_video_file_that_is_too_large_is_refused(settings: Settings) -> None:
    settings.UPLOAD_MAX_MB = 1
    with pytest.raises(ValidationError, match="larger than 1 MB"):
        check_video(SimpleUploadedFile("clip.mp4", CLIP + bytes(1024 * 1024)))


@pytest.mark.parametrize(
    ("name", "kind"), [("p.jpg", "JPEG"), ("p.jpeg", "JPEG"), ("p.png", "PNG"), ("p.webp", "WEBP")]
)
def test_a_poster_of_the_named_kind_is_taken(name: str, kind: str) -> None:
    check_poster(SimpleUploadedFile(name, picture(kind)))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("p.png", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not a JPEG"),
        ("p.png", b"", "not a JPEG"),
        ("p.png", picture("JPEG"), "not what its name says"),
        ("p.gif", picture("PNG"), "not what its name says"),
        ("p.png", picture("PNG")[:-20], "not a JPEG"),
        ("p.png", picture_with_text(), "not a JPEG"),
        ("p.png", picture("PNG").replace(b"\0\0\0\rIHDR", b"\0\0\0\2IHDR"), "not a JPEG"),
        ("p.png", picture("PNG", (10, 16_384)), "more than 16,383 pixels wide or high"),
        ("p.png", picture("PNG", (16_384, 10)), "more than 16,383 pixels wide or high"),
        ("p.png", picture("PNG", (9_000, 9_000)), "40 million pixels"),
        ("p.jpg", picture("JPEG") + bytes(5 * 1024 * 1024), "larger than 5 MB"),
    ],
)
def test_a_poster_that_is_something_else_or_a_bomb_is_refused(
    name: str, content: bytes, why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        check_poster(SimpleUploadedFile(name, content))


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example/talk.mp4",
        "https://cdn.example:8443/a/b/talk.webm?token=x",
        "http://cdn.example/live/index.m3u8",
    ],
)
def test_the_url_of_a_file_or_a_playlist_is_taken(url: str) -> None:
    check_source_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)//.mp4",
        "file:///etc/passwd.mp4",
        "data:video/mp4;base64,AAAA.mp4",
        "//cdn.example/talk.mp4",
        "https:///talk.mp4",
        "https://cdn.example/talk.exe",
        "https://cdn.example/",
        "https://user:secret@cdn.example/talk.mp4",
        "https://cdn.example:99999/talk.mp4",
        "https://[::1/talk.mp4",
    ],
)
def test_a_url_that_a_player_could_or_should_not_load_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        check_source_url(url)


# --- the page's policy ----------------------------------------------------------------------------


def test_the_policy_opens_to_the_origin_of_the_source_and_no_further() -> None:
    policy = content_policy(Video(source_url="https://cdn.example:8443/live/index.m3u8"))
    assert policy["media-src"] == [CSP.SELF, "https://cdn.example:8443", "blob:"]
    assert "https://cdn.example:8443" in policy["connect-src"]
    assert policy["script-src"] == [CSP.SELF]
    assert policy["default-src"] == [CSP.NONE]


@pytest.mark.parametrize(
    "url", ["https://a.example; script-src */x.mp4", "https://a.example'x/x.mp4", "https://*/x.mp4"]
)
def test_a_host_cannot_write_directives_of_its_own(url: str) -> None:
    policy = content_policy(Video(source_url=url))
    assert policy["media-src"] == [CSP.SELF]


# --- uploaded files -------------------------------------------------------------------------------


@pytest.fixture
def upload(sqlite_site: Site) -> str:
    """The address of an uploaded clip."""
    folder = Path(sqlite_site.variables["DATA_DIR"]) / "media" / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clip.mp4").write_bytes(CLIP)
    (folder / "page.html").write_text("<script>alert(1)</script>")
    return "/media/videos/clip.mp4"


def test_an_upload_is_served_whole_or_in_ranges(sqlite_site: Site, upload: str) -> None:
    person = Person(sqlite_site)
    whole = person.get(upload)
    assert whole.status == 200
    assert whole.headers["content-length"] == str(len(CLIP))
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-security-policy"].startswith("sandbox")
    part = person.get(upload, Range="bytes=4-7")
    assert (part.status, part.text) == (206, "ftyp")
    assert part.headers["content-range"] == f"bytes 4-7/{len(CLIP)}"
    assert person.get(upload, Range="bytes=-4").headers["content-length"] == "4"
    beyond = person.get(upload, Range=f"bytes={len(CLIP)}-")
    assert beyond.status == 416
    assert beyond.headers["content-range"] == f"bytes */{len(CLIP)}"


@pytest.mark.parametrize(
    "path",
    [
        "videos/page.html",
        "videos/none.mp4",
        "videos/",
        "../secret_key",
        "%2e%2e/secret_key",
        "..%2fsite.sqlite3",
        "%2fetc%2fpasswd.mp4",
        "videos/%00.mp4",
    ],
)
def test_nothing_else_is_served(sqlite_site: Site, upload: str, path: str) -> None:
    assert Person(sqlite_site).get(f"/media/{path}").status == 404
