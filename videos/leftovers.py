"""Uploads that no video names: of a form that was refused at its last step, of a process that was
killed, of a deletion that failed."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from django.conf import settings

from videos.files import POSTERS, SOURCES
from videos.models import Video


def lost_uploads(before: datetime) -> Iterator[str]:
    """The names of those that were written before a moment. What is younger may be on its way.

    None where there is no video at all: a database that is still to be restored names no file.
    """
    if not Video.objects.exists():
        return
    named = Video.objects.all().file_names()
    for folder in (SOURCES, POSTERS):
        path = Path(settings.MEDIA_ROOT) / folder
        for file in sorted(path.iterdir()) if path.is_dir() else ():
            name = f"{folder}/{file.name}"
            if name not in named and file.is_file() and _written_at(file) < before.timestamp():
                yield name


def _written_at(file: Path) -> float:
    """In seconds since 1970; now, for a file that has gone meanwhile."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
