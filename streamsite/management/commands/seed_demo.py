"""Videos, people and comments to show the site with."""

import os
import secrets
import uuid
from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from comments.models import Comment, Stream, Viewer
from videos import posters
from videos.models import Video

MEDIA = Path(settings.BASE_DIR) / "videos" / "demo"

# (seconds after the start, who, what they said)
PAST = [
    (4, "QuietHeron", "here already, tea in hand"),
    (9, "Arif", "আজকের আকাশটা একদম পরিষ্কার"),
    (15, "LateTrain", "which star is the bright one?"),
    (21, "Oleander", "Vega, I think. https://en.wikipedia.org/wiki/Vega"),
    (26, "nadia_r", "Vega it is. Look left of the mast in a minute."),
    (34, "QuietHeron", "there! a meteor"),
    (37, "Brisk Otter", "saw it too!!"),
    (41, "Arif", "কী সুন্দর"),
    (52, "LateTrain", "missed it, of course"),
    (58, "Oleander", "there will be more, peak is after midnight"),
    (66, "Velvet Tern", "the frogs are louder than last week"),
    (74, "nadia_r", "Tide is turning. Thank you all for being so quiet tonight."),
    (80, "QuietHeron", "thank you Nadia, same time tomorrow"),
]


class Command(BaseCommand):
    help = (
        "Make the demo: videos live-demo, past-demo and upcoming-demo, and the accounts admin, "
        "moderator and viewer. What exists already is left as it is. Passwords are printed once, "
        "or taken from DEMO_PASSWORD."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--force", action="store_true", help="also with DEBUG off, on a site of real people"
        )

    def handle(self, *args: Any, force: bool, **options: Any) -> None:
        if not settings.DEBUG and not force:
            raise CommandError(
                "DEBUG is off, so this may be a site of real people, and the demo accounts would "
                "be a way in. Write --force if you mean it."
            )
        with transaction.atomic():
            self._people()
            self._videos()

    def _people(self) -> None:
        for username, staff in (("admin", True), ("moderator", False), ("viewer", False)):
            if User.objects.filter(username=username).exists():
                continue
            password = os.environ.get("DEMO_PASSWORD") or secrets.token_urlsafe(9)
            user = User.objects.create_user(
                username, password=password, is_staff=staff, is_superuser=staff
            )
            if username == "moderator":
                user.first_name = "Mona"
                user.save()
                user.user_permissions.add(Permission.objects.get(codename="moderate_comment"))
            shown = "of DEMO_PASSWORD" if os.environ.get("DEMO_PASSWORD") else password
            self.stdout.write(f"Account {username}, password {shown}")

    def _videos(self) -> None:
        now = timezone.now()
        self._video(
            "live-demo",
            "live",
            title="Sundarbans at dusk: the tide comes in",
            description="A slow evening on the water with field recordist Nadia Rahman. "
            "Ask anything about the birds you hear.",
            state=Video.State.LIVE,
            started_at=now - timedelta(minutes=24),
        )
        past = self._video(
            "past-demo",
            "past",
            title="Night sky over the delta",
            description="Stars, frogs and one meteor, recorded from the roof of the boat.",
            state=Video.State.ENDED,
            started_at=now - timedelta(days=1, minutes=90),
            ended_at=now - timedelta(days=1),
        )
        if past:
            self._comments(past)
        self._video(
            "upcoming-demo",
            "upcoming",
            title="Dawn chorus, live from the hide",
            description="We go live before the first bird does.",
            state=Video.State.UPCOMING,
            starts_at=(now + timedelta(days=1)).replace(hour=5, minute=30, second=0, microsecond=0),
        )

    def _video(self, slug: str, poster: str, **fields: Any) -> Video | None:
        """The new video, or None where it was there already."""
        if Video.objects.filter(slug=slug).exists():
            return None
        video = Video(slug=slug, **fields)
        image = ContentFile((MEDIA / f"poster-{poster}.webp").read_bytes(), name="poster.webp")
        clip = ContentFile((MEDIA / "clip.mp4").read_bytes(), name="clip.mp4")
        # The same checks as an upload through admin.
        video.poster.save("poster.webp", image, save=False)
        video.source_file.save("clip.mp4", clip, save=False)
        video.full_clean()
        video.save()
        posters.make(video)  # here and now: the demo is to be looked at before a worker is there
        self.stdout.write(f"Video {slug}: {video.title}")
        return video

    def _comments(self, video: Video) -> None:
        """Comments of the past, on the video's clock. The one writer beside the services: a
        comment of yesterday is no verb of theirs."""
        stream = Stream.objects.get(video=video)
        assert video.started_at is not None, "an ended video has started"
        viewers: dict[str, Viewer] = {}
        for seconds, name, body in PAST:
            if name not in viewers:
                viewers[name] = Viewer.objects.create(name=name)
            number = stream.advance()
            Comment.objects.create(
                stream=stream,
                number=number,
                change=number,
                author=viewers[name],
                author_name=name,
                key=uuid.uuid4(),
                body=body,
                posted_at=video.started_at + timedelta(seconds=seconds),
            )
