"""The limits, each a named policy. Services call them inside their transaction; doors never skip
them. How much each allows is a setting (docs/settings.md)."""

import ipaddress
import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import ngettext

from comments.errors import Code, Refused
from comments.models import Comment, Viewer
from streamsite.env import Rate

FRAME_BYTES = 16 * 1024  # a client frame, before it is parsed; 2,000 characters fit in any script
SECONDS_BETWEEN_RENAMES = 5


def client_address(peer: str, forwarded_for: str) -> str:
    """The client's address, as far as it can be trusted.

    `peer` is who connected to us; `forwarded_for` the X-Forwarded-For header, all of it. Each
    trusted proxy has added at the right the address that connected to it, so the client's is the
    entry number TRUSTED_PROXIES from the right. What stands left of it anybody may have written.
    """
    hops: int = settings.TRUSTED_PROXIES
    entries = [entry.strip() for entry in forwarded_for.split(",") if entry.strip()]
    if hops == 0 or len(entries) < hops:
        return peer
    return entries[-hops]


def address_of(headers: Mapping[str, str], peer: str) -> str:
    """A keyed hash of who sent this request or opened this socket, fit to store and compare.

    The hash covers the IPv4 address, or the first 64 bits of an IPv6 address: one subscriber can
    use all the rest. Without SECRET_KEY it cannot be turned back. Empty where there is no address
    (a unix socket, a management command).
    """
    raw = client_address(peer, headers.get("x-forwarded-for", ""))
    try:
        address = ipaddress.ip_address(raw.strip("[]"))
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            address = address.ipv4_mapped
        else:
            network = ipaddress.ip_network((address, 64), strict=False)
            address = network.network_address
    return salted_hmac("comments.address", address.packed, algorithm="sha256").hexdigest()[:32]


def flood_per_viewer(author: Viewer) -> None:
    """RATE_VIEWER, 5 comments per 10 s: over all tabs, videos and processes of one viewer."""
    _require_rate(Comment.objects.filter(author=author), settings.RATE_VIEWER)


def flood_per_address(address: str) -> None:
    """RATE_ADDRESS, 30 comments per 10 s: over all viewers behind one address."""
    if address:
        _require_rate(Comment.objects.filter(address=address), settings.RATE_ADDRESS)


def renames(viewer: Viewer) -> None:
    """One change of name per 5 s and viewer; off with RATE_VIEWER=off."""
    if viewer.renamed_at and settings.RATE_VIEWER is not None:
        _require_time_since(viewer.renamed_at, timedelta(seconds=SECONDS_BETWEEN_RENAMES))


def _require_rate(comments: QuerySet[Comment], rate: Rate | None) -> None:
    """Refuse (`too_fast`) when `rate.count` of `comments` are within the last `rate.seconds`.

    The comments themselves are the count: no second store to lose, and all processes see it. One
    viewer's posts run one after another, so theirs is exact; of one address as many more may pass
    as are committed by other viewers in the same moment.
    """
    if rate is None:
        return
    window = timedelta(seconds=rate.seconds)
    recent = comments.filter(posted_at__gt=timezone.now() - window).order_by("-posted_at")
    oldest_that_counts = recent.values_list("posted_at", flat=True)[rate.count - 1 : rate.count]
    for posted_at in oldest_that_counts:
        _require_time_since(posted_at, window)


def _require_time_since(moment: datetime, window: timedelta) -> None:
    left = (moment + window - timezone.now()).total_seconds()
    if left > 0:
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
