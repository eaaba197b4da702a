"""The verbs at the command line: one more door to the same services."""

import uuid
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from comments import services
from comments.errors import Refused
from comments.identity import actor_of_account
from comments.models import Comment, Stream


class Command(BaseCommand):
    help = "Post, remove or restore a comment as an account, by the rules that hold for its pages."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        for verb in ("post", "remove", "restore"):
            door = verbs.add_parser(verb)
            door.add_argument("slug", help="the video's slug")
            if verb == "post":
                door.add_argument("body", help="the text")
                door.add_argument("--key", help="UUID; the same again posts nothing new")
            else:
                door.add_argument("number", help="the comment's number (data-number in the page)")
            door.add_argument(
                "--as", dest="username", metavar="USERNAME", required=True, help="who acts"
            )

    def handle(self, *args: Any, verb: str, slug: str, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username, is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active account {username!r}.")
        stream = Stream.objects.filter(video__slug=slug).first()
        if stream is None:
            raise CommandError(f"There is no video {slug!r}.")
        actor = actor_of_account(user)
        comment: Comment
        try:
            if verb == "post":
                key = options["key"] or str(uuid.uuid4())
                comment = services.post(actor, stream.pk, options["body"], key)
            elif verb == "remove":
                comment = services.remove(actor, stream.pk, options["number"])
            else:
                comment = services.restore(actor, stream.pk, options["number"])
        except Refused as refusal:
            raise CommandError(f"{refusal.code}: {refusal.sentence}") from None
        self.stdout.write(f"{verb}: comment {comment.number} of {slug}")
