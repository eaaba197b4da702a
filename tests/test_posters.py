"""Posters: nothing of the upload but its pixels is shown, in sizes, and only what can be read."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image
from pytest_django.fixtures import Settings

from comments.identity import Actor
from comments.jobs import attempt
from comments.jobs import posters as poster_jobs
from comments.jobs.works import WORKS
from comments.models import Job
from tests.servers import ROOT
from videos import posters
from videos.models import Video

GPS, ORIENTATION, MAKE = 0x8825, 0x0112, 0x010F
CLIP_HEAD = b"\x00\x00\x00\x18ftypmp42" + bytes(16)


def photo(size: tuple[int, int] = (2400, 1200)) -> bytes:
    """A JPEG as a phone takes it: lying on its side, red at its top, with place and make."""
    picture = Image.new("RGB", size, "blue")
    picture.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # turn it clockwise to see it upright
    exif[MAKE] = "PhoneOfAlice"
    exif.get_ifd(GPS)[1] = "N"
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif, comment=b"taken at home")
    return file.getvalue()


def work() -> Job:
    job = Job.objects.get(state="queued")
    assert job.task_id is not None
    attempt.run(job.pk, job.task_id, WORKS)
    job.refresh_from_db()
    return job


@pytest.fixture
def media(transactional_db: None, settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    settings.FFMPEG = None
    return tmp_path


def files(media: Path) -> list[str]:
    return sorted(path.name for path in media.rglob("*") if path.is_file())


def uploaded(content: bytes, name: str = "p.jpg") -> Video:
    video = Video(slug="talk", title="Talk", poster=SimpleUploadedFile(name, content))
    video.full_clean()
    video.save()
    return video


def test_a_photo_is_shown_upright_in_sizes_and_without_what_it_tells(media: Path) -> None:
    video = uploaded(photo())
    upload = str(video.poster.name)
    page = Client().get("/").content.decode()
    assert "<img" not in page.partition("<main")[2]  # nothing of it until it is made
    assert work().state == "done"
    video.refresh_from_db()
    assert [size[:2] for size in video.poster_sizes] == [[320, 640], [640, 1280], [1200, 2400]]
    assert len(files(media)) == 3
    assert Path(upload).stem not in " ".join(files(media))
    for _width, _height, name in video.poster_sizes:
        content = (media / name).read_bytes()
        assert content[8:12] == b"WEBP"
        assert not any(word in content for word in (b"EXIF", b"ICCP", b"XMP", b"Alice", b"home"))
        with Image.open(io.BytesIO(content)) as image:
            assert dict(image.getexif()) == {}
            top, bottom = (image.convert("RGB").getpixel((9, y)) for y in (9, image.height - 9))
            assert isinstance(top, tuple)
            assert isinstance(bottom, tuple)
            assert top[0] > 200 > bottom[0]  # red above
    page = Client().get("/").content.decode()
    srcset = re.search(r'srcset="(/media/[^"]+)" sizes="[^"]+" alt=""', page)
    assert srcset is not None
    found = [part.split() for part in srcset[1].split(", ")]
    assert [width for _url, width in found] == ["320w", "640w", "1200w"]
    assert f'src="{found[-1][0]}"' in page
    # What is made is asked for once.
    poster_jobs.request_missing()
    assert not Job.objects.active().exists()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_pictures_of_every_kind_are_read_and_none_is_made_larger(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (300, 100)).save(file, "JPEG" if mode == "CMYK" else "PNG")
    [(size, webp)] = posters.images(file.getvalue())
    with Image.open(io.BytesIO(webp)) as image:
        assert (size, image.size, image.format) == ((300, 100), (300, 100), "WEBP")


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("size", [(7000, 7000), (11_000, 9_000), (60_000, 60_000)])
def test_a_bomb_is_not_unfolded(size: tuple[int, int]) -> None:
    with pytest.raises(posters.PosterError, match="40 million"):
        list(posters.images(png_of(*size)))


@pytest.mark.parametrize("content", [b"", b"<svg onload='x'/>", b"GIF89a" + bytes(99), CLIP_HEAD])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(posters.PosterError, match="cannot be read"):
        list(posters.images(content))


def test_half_a_picture_is_not_shown_nor_tried_for_ever(media: Path) -> None:
    content = photo()
    video = uploaded(content[: len(content) // 2])
    job = work()
    assert (job.state, job.problem) == ("failed", posters.NO_IMAGE)
    video.refresh_from_db()
    assert (video.poster_images, video.poster_wanted) == ([], "")
    poster_jobs.request_missing()
    assert not Job.objects.active().exists()
    # Another upload is another chance, and takes the first one's place.
    video.poster = SimpleUploadedFile("p.jpg", photo((400, 200)))
    video.save()
    assert work().state == "done"
    video.refresh_from_db()
    assert [width for width, _url in video.poster_images] == [200]


def stored(content: bytes, name: str = "p.jpg") -> Video:
    """As an older version took it, which looked less closely."""
    return Video.objects.create(slug="talk", title="T", poster=SimpleUploadedFile(name, content))


def flat(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (flat((10, 20_000)), posters.TOO_LONG),
        # Tags of the metadata that are not of the kind that they say: TypeError, struct.error.
        (photo((40, 20)).replace(b"\0\1\0\1\0\2", b"\0\1\0\2\0\2"), posters.NO_IMAGE),
        (photo((40, 20)).replace(b"\1\x0f\0\2", b"\1\0\0\2"), posters.NO_IMAGE),
    ],
)
def test_what_no_poster_can_be_made_of_is_tried_once(
    media: Path, content: bytes, problem: str
) -> None:
    video = stored(content)
    job = work()
    assert (job.state, job.problem) == ("failed", problem)
    assert files(media) == [Path(str(video.poster.name)).name]
    poster_jobs.request_missing()
    assert not Job.objects.active().exists()


@pytest.mark.parametrize("kind", ["poster", "source_file"])
def test_an_upload_that_is_not_there_is_said_so_and_looked_for_once(
    media: Path, settings: Settings, kind: str
) -> None:
    settings.FFMPEG = get_ffmpeg_exe()
    video = Video(slug="talk", title="Talk")
    setattr(video, kind, SimpleUploadedFile("p.mp4" if kind == "source_file" else "p.jpg", b"x"))
    video.save()
    (media / str(getattr(video, kind).name)).unlink()  # restored without the uploads
    job = work()
    assert (job.state, job.problem) == ("failed", posters.GONE)
    poster_jobs.request_missing()
    assert not Job.objects.active().exists()


def test_who_saves_what_was_read_before_the_worker_came_undoes_no_poster(media: Path) -> None:
    uploaded(photo((400, 200)))
    earlier = Video.objects.get(slug="talk")
    assert work().state == "done"
    earlier.title = "Another title"
    earlier.save()
    video = Video.objects.get(slug="talk")
    assert video.title == "Another title"
    assert [width for width, _url in video.poster_images] == [200]
    assert (media / str(video.poster.name)).exists()
    assert not Job.objects.active().exists()
    # A poster that was put in here is written, and so is that there is none any more.
    earlier.poster = SimpleUploadedFile("p.jpg", photo((600, 300)))
    earlier.save()
    assert work().state == "done"
    video.refresh_from_db()
    assert [width for width, _url in video.poster_images] == [300]
    video.poster = ""
    video.save()
    assert Video.objects.get(slug="talk").poster_images == []
    assert files(media) == []


# --- what becomes of the files --------------------------------------------------------------------


def complete(slug: str) -> tuple[Video, list[str]]:
    """A video with a file and a poster that is made, and all their addresses."""
    video = Video(slug=slug, title=slug, poster=SimpleUploadedFile("p.jpg", photo((800, 400))))
    video.source_file = SimpleUploadedFile("clip.mp4", CLIP_HEAD)
    video.full_clean()
    video.save()
    assert work().state == "done"
    video.refresh_from_db()
    return video, [video.source_file.url, *(url for _width, url in video.poster_images)]


def answers(addresses: list[str]) -> list[int]:
    client, codes = Client(), []
    for address in addresses:
        response = client.get(address)
        response.close()
        codes.append(response.status_code)
    return codes


def test_nothing_of_a_deleted_video_is_served_any_more(media: Path, root: Actor) -> None:
    _talk, addresses = complete("one")
    _other, more = complete("two")
    assert len(addresses) == 3
    assert answers(addresses + more) == [200] * 6
    with transaction.atomic():
        Video.objects.all().delete()
        transaction.set_rollback(True)
    assert answers(addresses + more) == [200] * 6
    assert root.user is not None
    client = Client()
    client.force_login(root.user)
    chosen = list(Video.objects.filter(slug__in=["one", "two"]).values_list("pk", flat=True))
    form = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    assert client.post("/admin/videos/video/", form).status_code == 302
    assert answers(addresses + more) == [404] * 6
    assert files(media) == []


def test_what_another_video_names_too_stays(media: Path) -> None:
    video, addresses = complete("one")
    copy = Video.objects.get(pk=video.pk)
    copy.pk, copy.slug, copy._state.adding = None, "copy", True
    copy.save()
    video.delete()
    smallest = str(video.poster_sizes[0][2])
    assert Video.objects.clear_files([smallest]) == 0
    assert answers(addresses) == [200] * 3
    copy.delete()
    assert files(media) == []


def test_a_file_that_is_replaced_goes_once_the_new_one_is_kept(
    media: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video, addresses = complete("one")
    with transaction.atomic():
        video.source_file = SimpleUploadedFile("clip.mp4", CLIP_HEAD)
        video.save()
        transaction.set_rollback(True)
    assert answers(addresses) == [200] * 3
    video = Video.objects.get(pk=video.pk)
    video.source_file = SimpleUploadedFile("clip.mp4", CLIP_HEAD)
    video.save()
    assert answers([*addresses, video.source_file.url]) == [404, 200, 200, 200]
    # One that cannot be deleted is no mistake of who replaces it.
    path = media / str(video.source_file.name)
    path.unlink()
    (path / "inside").mkdir(parents=True)
    video.source_file = SimpleUploadedFile("clip.mp4", CLIP_HEAD)
    video.save()
    assert answers([video.source_file.url]) == [200]
    assert f"videos/{path.name} is not deleted: OSError" in caplog.text


def test_a_video_that_is_deleted_while_its_poster_is_made_leaves_no_image(
    media: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uploaded(photo((400, 200)))
    make = posters.images

    def slowly(content: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
        Video.objects.all().delete()
        return make(content)

    monkeypatch.setattr(posters, "images", slowly)
    [job] = Job.objects.filter(state="queued")
    assert job.task_id is not None
    attempt.run(job.pk, job.task_id, WORKS)
    assert files(media) == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_poster_that_is_replaced_meanwhile_is_not_shown(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded(photo((400, 200)))
    make = posters.images

    def slowly(content: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
        monkeypatch.setattr(posters, "images", make)
        later = Video.objects.get(slug="talk")
        later.poster = SimpleUploadedFile("p.jpg", photo((600, 300)))
        later.save()
        return make(content)

    monkeypatch.setattr(posters, "images", slowly)
    assert work().state == "done"
    video = Video.objects.get(slug="talk")
    assert [width for width, _url in video.poster_images] == [300]
    assert not Job.objects.active().exists()
    assert len([name for name in files(media) if name.endswith(".webp")]) == 1


def test_a_video_without_poster_lends_its_own_picture(media: Path, settings: Settings) -> None:
    settings.FFMPEG = get_ffmpeg_exe()
    clip = (ROOT / "videos" / "demo" / "clip.mp4").read_bytes()
    video = Video(slug="talk", title="Talk", source_file=SimpleUploadedFile("clip.mp4", clip))
    video.full_clean()
    video.save()
    assert work().state == "done"
    video.refresh_from_db()
    assert video.poster_images
    assert Path(str(video.source_file.name)).name in files(media)
    with Image.open(media / str(video.poster.name)) as image:
        assert image.width >= 640
        colours = image.convert("RGB").resize((32, 18)).getcolors(1000)
        assert len(colours or []) > 100  # not black


def test_a_video_that_is_none_gives_no_picture_and_is_said_so(
    media: Path, settings: Settings
) -> None:
    settings.FFMPEG = get_ffmpeg_exe()
    broken = SimpleUploadedFile("clip.mp4", CLIP_HEAD + bytes(200))
    video = Video.objects.create(slug="talk", title="Talk", source_file=broken)
    job = work()
    assert (job.state, job.problem) == ("failed", posters.NO_FRAME)
    video.refresh_from_db()
    assert video.poster_wanted == ""
