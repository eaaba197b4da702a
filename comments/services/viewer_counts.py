"""Keeping how many watched, minute by minute. Without an actor: the fan-out counts its seats."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import batched

from django.db import connection
from django.db.models import Q

from comments.models import Stream, ViewerCount
from videos.models import Video

AT_ONCE = 5000  # rows in one statement: SQLite takes some 32,000 values
TABLE = f'"{ViewerCount._meta.db_table}"'


def record(minute: int, most: Mapping[int, int]) -> None:
    """Keep how many viewers were seen at once at most, by stream, in a minute (since 1970).

    Any number of processes may write the same minute, in any order and again: the greater stays.
    Nothing is kept of videos that had ended before, or are gone: a recording is watched for years.
    """
    began = datetime.fromtimestamp(minute * 60, UTC)
    ended = Q(video__state=Video.State.ENDED) & ~Q(video__ended_at__gt=began)
    live = Stream.objects.filter(pk__in=most).exclude(ended).values_list("pk", flat=True)
    at = ViewerCount._meta.get_field("minute").get_db_prep_save(began, connection)
    # In the order of the streams, so that two processes never wait for each other.
    for rows in batched(sorted(live), AT_ONCE, strict=False):
        places = ", ".join(["(%s, %s, %s)"] * len(rows))
        values = [value for pk in rows for value in (pk, at, most[pk])]
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {TABLE} AS kept (stream_id, minute, viewers) VALUES {places}"  # noqa: S608
                " ON CONFLICT (stream_id, minute) DO UPDATE SET viewers = excluded.viewers"
                " WHERE excluded.viewers > kept.viewers",
                values,
            )
