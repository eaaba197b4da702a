"""Checks of what admins upload or link: by content and size; nothing is executed or fetched."""

import secrets
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.utils.translation import gettext as _
from PIL import Image

if TYPE_CHECKING:
    from videos.models import Video

SOURCES, POSTERS = "videos", "posters"  # folders of MEDIA_ROOT

VIDEO_TYPES = {
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "webm": "video/webm",
    "ogv": "video/ogg",
}
PLAYLIST_TYPES = {"m3u8": "application/vnd.apple.mpegurl"}
POSTER_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
POSTER_MAX_BYTES = 5 * 1024 * 1024
POSTER_MAX_PIXELS = 40_000_000  # a bomb of a few KB may unfold to gigabytes; 40 MP is 8K
POSTER_MAX_SIDE = 16_383  # pixels; a WebP, which is made of it, has no more


def extension(path: str) -> str:
    return PurePosixPath(path).suffix.lower().lstrip(".")


def source_path(video: "Video", filename: str) -> str:
    """Where an uploaded video is stored: a random name, so that none is guessed or overwritten."""
    return f"{SOURCES}/{secrets.token_urlsafe(16)}.{extension(filename)}"


def poster_path(video: "Video", filename: str) -> str:
    return f"{POSTERS}/{secrets.token_urlsafe(16)}.{extension(filename)}"


def _is_new(file: "File[bytes]") -> bool:
    """Whether the file is being uploaded now; what is stored was checked when it was."""
    return not getattr(file, "_committed", False)


def check_video(file: "File[bytes]") -> None:
    """Refuse (ValidationError) what is too large, or whose first bytes are not the named format."""
    if not _is_new(file):
        return
    if file.size > settings.UPLOAD_MAX_MB * 1024 * 1024:
        raise ValidationError(
            _("The file is larger than %(mb)s MB.") % {"mb": settings.UPLOAD_MAX_MB}
        )
    file.seek(0)
    head = file.read(16)
    file.seek(0)
    found = None
    if head[4:8] == b"ftyp":
        found = "video/mp4"
    elif head.startswith(b"\x1a\x45\xdf\xa3"):
        found = "video/webm"
    elif head.startswith(b"OggS"):
        found = "video/ogg"
    if found is None or found != VIDEO_TYPES.get(extension(file.name or "")):
        raise ValidationError(_("The content of this file is not what its name says."))


def check_poster(file: "File[bytes]") -> None:
    """Refuse (ValidationError) what is too large, or not the image that its name says."""
    if not _is_new(file):
        return
    if file.size > POSTER_MAX_BYTES:
        raise ValidationError(_("The poster is larger than 5 MB."))
    file.seek(0)
    try:
        with Image.open(file, formats=["JPEG", "PNG", "WEBP"]) as image:
            width, height = image.size
            found = Image.MIME[image.format or ""]
            if width * height > POSTER_MAX_PIXELS:
                raise ValidationError(_("The poster has more than 40 million pixels."))
            if max(width, height) > POSTER_MAX_SIDE:
                raise ValidationError(_("The poster is more than 16,383 pixels wide or high."))
            image.verify()
    except ValidationError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValidationError(_("The poster has more than 40 million pixels.")) from None
    except Exception:
        # What is broken enough meets errors of every kind in the library (ValueError, struct.error,
        # TypeError); none of them is ours.
        raise ValidationError(_("This is not a JPEG, PNG or WebP image.")) from None
    finally:
        file.seek(0)
    if found != POSTER_TYPES.get(extension(file.name or "")):
        raise ValidationError(_("The content of this image is not what its name says."))


def check_source_url(url: str) -> None:
    """Refuse (ValidationError) what the player could not or should not load."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("https", "http") and bool(parts.hostname)
        _port = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise ValidationError(_("Write a full address, as in https://cdn.example/talk.mp4."))
    if parts.username or parts.password:
        raise ValidationError(_("The address holds a user name or password; every viewer sees it."))
    if extension(parts.path) not in VIDEO_TYPES | PLAYLIST_TYPES:
        raise ValidationError(_("The address must end in .mp4, .m4v, .webm, .ogv or .m3u8."))
