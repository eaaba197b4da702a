from typing import Any

from django.core.management.base import BaseCommand

from comments.models import Stream, new_epoch


class Command(BaseCommand):
    help = (
        "After a backup was restored or a standby promoted: name the history of every stream anew, "
        "so that open pages, which may have seen comments that are gone, load it whole. Running "
        "servers notice within 2 s."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        streams = list(Stream.objects.only("pk"))
        for stream in streams:
            stream.epoch = new_epoch()
        Stream.objects.bulk_update(streams, ["epoch"], batch_size=500)
        self.stdout.write(f"{len(streams)} streams have a new epoch.")
