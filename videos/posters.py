"""Posters as pages show them: a few WebP sizes, made from an upload or from a video's own picture.

This is work for a worker (comments/jobs/posters.py). Nothing of the upload itself is ever shown:
what it holds besides the picture (where a phone took it, say) stays out of what is made.
"""

import io
import logging
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils.translation import gettext_noop
from PIL import Image, ImageCms, ImageOps

from videos.files import POSTER_MAX_PIXELS, POSTER_MAX_SIDE, POSTERS, VIDEO_TYPES, extension
from videos.models import Video

logger = logging.getLogger(__name__)

WIDTHS = (320, 640, 1280, 1920)  # pixels; none is wider than the picture
QUALITY = 80
FRAME_AT = 1.0  # seconds into a video; its first picture is often black
FRAME_SECONDS = 60.0  # that ffmpeg may take
FRAME_MAX_BYTES = 64 * 1024 * 1024
# How ffmpeg calls what we take: it is never left to guess, nor to follow a playlist elsewhere.
DEMUXERS = {"video/mp4": "mov", "video/webm": "matroska", "video/ogg": "ogg"}

NO_IMAGE = gettext_noop("This image cannot be read to its end. Upload another one.")
TOO_LARGE = gettext_noop("This image has more than 40 million pixels. Upload a smaller one.")
TOO_LONG = gettext_noop("This image is more than 16,383 pixels wide or high. Upload a smaller one.")
GONE = gettext_noop("The uploaded file is not on the server any more. Upload it again.")
UNREADABLE = gettext_noop("The uploaded file could not be read on the server. Upload it again.")
NO_FRAME = gettext_noop("No picture could be taken from this video. Upload a poster.")


class PosterError(Exception):
    """There is no poster to be had from this; the text (marked for translation) says why."""


def make(video: Video) -> bool:
    """Make the images of the video's poster, or of a picture from its file, and show them from now
    on; False where there is nothing to be done.

    Raises PosterError: what was there is then not tried again.
    """
    while wanted := video.poster_wanted:
        try:
            # All of them before any is stored: where one fails, nothing is left behind.
            found = list(images(_content(video)))
        except PosterError:
            if video.took_poster(wanted, poster=video.poster.name or "", sizes=[]):
                raise
            video.refresh_from_db()  # another was uploaded meanwhile
            continue
        made = _stored(found)
        names = [name for _width, _height, name in made]
        if video.took_poster(wanted, poster=names[-1], sizes=made):
            stale = [name for _width, _height, name in video.poster_sizes]
            Video.objects.clear_files([wanted, *stale])
            return True
        # Another was uploaded meanwhile: these are of no use, and it is that one's turn.
        Video.objects.clear_files(names)
        video.refresh_from_db()
    return False


def _content(video: Video) -> bytes:
    """What the video's poster is made of, as the file of a picture. Raises PosterError."""
    try:
        if not video.poster:
            return frame(Path(video.source_file.path))
        with video.poster.open("rb") as file:
            content: bytes = file.read()
            return content
    except PosterError:
        raise
    except FileNotFoundError:
        # The database was restored without the uploads, say.
        raise PosterError(GONE) from None
    except Exception as error:
        logger.warning("an upload cannot be read: %s", type(error).__name__)
        raise PosterError(UNREADABLE) from None


def images(content: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """The sizes of a picture, the smallest first: (width, height) and a WebP of pixels alone.

    Upright as its metadata has it, in sRGB, of an animation the first picture. Raises PosterError,
    and nothing else: what fails in another way would be tried again for ever.
    """
    try:
        yield from _images(content)
    except PosterError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PosterError(TOO_LARGE) from None
    except Exception as error:
        # A broken file meets errors of every kind in the library, struct.error and TypeError too.
        logger.info("no poster could be made: %s", type(error).__name__)
        raise PosterError(NO_IMAGE) from None


def _images(content: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    with Image.open(io.BytesIO(content), formats=["JPEG", "PNG", "WEBP"]) as opened:
        # Before anything is unfolded: a few KB may become gigabytes.
        if opened.width * opened.height > POSTER_MAX_PIXELS:
            raise PosterError(TOO_LARGE)
        if max(opened.size) > POSTER_MAX_SIDE:
            raise PosterError(TOO_LONG)
        opened.draft("RGB", (2 * WIDTHS[-1], 2 * WIDTHS[-1]))  # a JPEG is decoded smaller
        picture = _in_srgb(ImageOps.exif_transpose(opened))
    widest = min(picture.width, WIDTHS[-1])
    for width in sorted({*(width for width in WIDTHS if width < widest), widest}):
        size = (width, max(1, round(picture.height * width / picture.width)))
        file = io.BytesIO()
        # Into a WebP Pillow writes no metadata but what it is handed here.
        picture.resize(size, Image.Resampling.LANCZOS).save(file, "WEBP", quality=QUALITY)
        yield size, file.getvalue()


def _in_srgb(picture: Image.Image) -> Image.Image:
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    mode = "RGBA" if has_alpha else "RGB"
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "RGBA", "CMYK", "L"):
        try:
            converted = ImageCms.profileToProfile(
                picture,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB" if picture.mode != "RGBA" else "RGBA",
            )
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a broken profile: the colours as they are
        if converted is not None:
            return converted.convert(mode)
    return picture.convert(mode)


def frame(path: Path) -> bytes:
    """A picture from a video file, as PNG. Raises PosterError, and FileNotFoundError."""
    if settings.FFMPEG is None:
        raise PosterError(NO_FRAME)
    path.stat()
    demuxer = DEMUXERS[VIDEO_TYPES[extension(path.name)]]
    for at in (FRAME_AT, 0.0):  # from its beginning, where it is shorter than that
        command = [
            settings.FFMPEG, "-nostdin", "-v", "error", "-threads", "1",
            "-protocol_whitelist", "file", "-f", demuxer, "-ss", str(at), "-i", f"file:{path}",
            "-frames:v", "1", "-vf", f"scale='min({WIDTHS[-1]},iw)':-2",
            "-f", "image2pipe", "-c:v", "png", "-fs", str(FRAME_MAX_BYTES), "-",
        ]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603  our own arguments, no shell
                command, capture_output=True, timeout=FRAME_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            break
        if done.returncode == 0 and done.stdout:
            return done.stdout
    raise PosterError(NO_FRAME)


def _stored(found: list[tuple[tuple[int, int], bytes]]) -> list[tuple[int, int, str]]:
    """Keep the images under new random names: nothing in them leads to the upload."""
    made: list[tuple[int, int, str]] = []
    try:
        for (width, height), webp in found:
            name = f"{POSTERS}/{secrets.token_urlsafe(16)}-{width}.webp"
            made.append((width, height, default_storage.save(name, ContentFile(webp))))
    except OSError:  # the disk may be full, which is not the picture's fault
        Video.objects.clear_files([name for _width, _height, name in made])
        raise
    return made
