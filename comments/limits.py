"""The limits, each a named policy. Services call them inside their transaction; doors never skip
them. How much each allows is a setting (docs/settings.md)."""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import ngettext

from comments import sql
from comments.errors import Code, Refused
from comments.models import Comment, Job, Viewer
from streamsite.env import Rate

FRAME_BYTES = 16 * 1024  # a client frame, before it is parsed; 2,000 characters fit in any script
SECONDS_BETWEEN_RENAMES = 5
COLUMNS = {"author": "author_id", "address": "address"}  # of what is counted
JOBS_PER_HOUR = 60
# What lies further ahead was written before this machine's clock was set back (or where another's
# is ahead): it does not count, or its author would be silent until the clock has caught up.
CLOCKS_DIFFER = timedelta(seconds=1)

type IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(peer: str, forwarded_for: str) -> IPAddress | None:
    """The client's address, as far as it can be trusted; None where there is none to be read.

    `peer` is who connected to us; `forwarded_for` the X-Forwarded-For header, all of it. Each
    trusted proxy has added at the right the address that connected to it, so the client's is the
    entry number TRUSTED_PROXIES from the right. What stands left of it anybody may have written.
    Where that entry is missing, or is no address, it is the peer.
    """
    hops: int = settings.TRUSTED_PROXIES
    entries = [entry.strip() for entry in forwarded_for.split(",") if entry.strip()]
    told = parse_address(entries[-hops]) if 0 < hops <= len(entries) else None
    return told or parse_address(peer)


def parse_address(text: str) -> IPAddress | None:
    """An IP address, also in brackets, and with a port behind it as some proxies write it."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}", text)
    try:
        return ipaddress.ip_address(match[1] or match[2] if match else text)
    except ValueError:
        return None


def address_of(headers: Mapping[str, str], peer: str) -> str:
    """A keyed hash of who sent this request or opened this socket, fit to store and compare.

    The hash covers the IPv4 address, or the first 64 bits of an IPv6 address: one subscriber can
    use all the rest. Without SECRET_KEY it cannot be turned back. Empty where there is no address
    (a unix socket without a proxy); behind proxies all whose address cannot be read share one.
    """
    address = client_address(peer, headers.get("x-forwarded-for", ""))
    if address is None:
        return _hashed(b"unknown") if settings.TRUSTED_PROXIES else ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            address = address.ipv4_mapped
        else:
            network = ipaddress.ip_network((int(address), 64), strict=False)
            address = network.network_address
    return _hashed(address.packed)


def _hashed(address: bytes) -> str:
    return salted_hmac("comments.address", address, algorithm="sha256").hexdigest()[:32]


class Flood:
    """A limit on how many comments one author, or one address, posts in a while.

    The comments themselves are the count: no second store to lose, and all processes see it. One
    viewer's posts run one after another, so theirs is exact; of one address as many more may pass
    as are committed by other viewers in the same moment.
    """

    def __init__(self, rate: Rate | None, field: str, values: Collection[int | str]) -> None:
        """Count the recent comments whose `field` is one of `values`, in one query."""
        self.rate = rate
        self.field = field
        self.counts: Counter[int | str] = Counter()
        self.added: Counter[int | str] = Counter()
        if rate is not None:
            self.counts.update(self._counted(rate, list(values)))

    def require(self, value: int | str) -> None:
        """Refuse (`too_fast`) when `rate.count` are within the last `rate.seconds`. Who has no
        address, as behind a socket of this machine, shares it with nobody."""
        if (
            self.rate is None
            or value == ""
            or self.counts[value] + self.added[value] < self.rate.count
        ):
            return
        # Those of this batch are the latest; what the wait depends on may lie behind them.
        behind = self.rate.count - self.added[value] - 1
        window = timedelta(seconds=self.rate.seconds)
        if behind < 0:
            raise too_fast(window.total_seconds())
        recent = self._recent(self.rate).filter(**{self.field: value}).order_by("-posted_at")
        for posted_at in recent.values_list("posted_at", flat=True)[behind : behind + 1]:
            _require_time_since(posted_at, window)

    def add(self, value: int | str) -> None:
        """One more by `value` is about to be written."""
        self.added[value] += 1

    def _counted(self, rate: Rate, values: list[int | str]) -> dict[int | str, int]:
        """How many comments of the last seconds each value has."""
        if not values:
            return {}
        column = COLUMNS[self.field]
        found = sql.fetch(
            f"SELECT column1, (SELECT COUNT(*) FROM comments_comment WHERE {column} = column1"  # noqa: S608
            f" AND posted_at > %s AND posted_at <= %s) FROM {sql.asked([(v,) for v in values])}",
            [*map(sql.moment, _window(rate)), *values],
        )
        return dict(found)

    @staticmethod
    def _recent(rate: Rate) -> QuerySet[Comment]:
        since, until = _window(rate)
        return Comment.objects.filter(posted_at__gt=since, posted_at__lte=until)


def _window(rate: Rate) -> tuple[datetime, datetime]:
    """After the first moment, and not after the second, is what counts now."""
    now = timezone.now()
    return now - timedelta(seconds=rate.seconds), now + CLOCKS_DIFFER


def flood_per_viewer(viewers: Collection[int]) -> Flood:
    """RATE_VIEWER, 5 comments per 10 s: over all tabs, videos and processes of one viewer."""
    return Flood(settings.RATE_VIEWER, "author", viewers)


def flood_per_address(addresses: Collection[str]) -> Flood:
    """RATE_ADDRESS, 30 comments per 10 s: over all viewers behind one address."""
    # Where there is none (a unix socket, a management command) there is nothing to count.
    return Flood(settings.RATE_ADDRESS, "address", [a for a in addresses if a])


def jobs(requester_id: int) -> None:
    """60 jobs per hour and account: each export is a file that is kept for a day."""
    now, hour = timezone.now(), timedelta(hours=1)
    recent = Job.objects.filter(
        requester_id=requester_id, created_at__gt=now - hour, created_at__lte=now + CLOCKS_DIFFER
    ).order_by("-created_at")
    for created_at in recent.values_list("created_at", flat=True)[
        JOBS_PER_HOUR - 1 : JOBS_PER_HOUR
    ]:
        _require_time_since(created_at, hour)


def renames(viewer: Viewer) -> None:
    """One change of name per 5 s and viewer; off with RATE_VIEWER=off."""
    if viewer.renamed_at and settings.RATE_VIEWER is not None:
        _require_time_since(viewer.renamed_at, timedelta(seconds=SECONDS_BETWEEN_RENAMES))


def _require_time_since(moment: datetime, window: timedelta) -> None:
    now = timezone.now()
    left = (moment + window - now).total_seconds()
    if left > 0 and moment <= now + CLOCKS_DIFFER:
        raise too_fast(left)


def too_fast(seconds: float) -> Refused:
    """The refusal of every limit: says after how many whole seconds to try again."""
    wait = max(1, math.ceil(seconds))
    return Refused(
        Code.TOO_FAST,
        ngettext(
            "That was too fast. You can try again in %(wait)d second.",
            "That was too fast. You can try again in %(wait)d seconds.",
            wait,
        )
        % {"wait": wait},
        retry_after=wait,
    )
