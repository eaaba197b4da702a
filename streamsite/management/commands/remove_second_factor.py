from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from streamsite import second_factor


class Command(BaseCommand):
    help = "Forget an account's second factor and backup codes, for who has lost both."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no account {username!r}. Write the name of one.")
        if not second_factor.remove(user):
            raise CommandError(f"The account {username!r} has no second factor.")
        self.stdout.write(f"The second factor of {username} is removed.")
