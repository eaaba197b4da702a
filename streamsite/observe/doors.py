"""Who may see the figures of this process: Prometheus at /metrics, and superusers in admin."""

from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.request import split_domain_port
from django.template.response import TemplateResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from streamsite.env import is_loopback
from streamsite.observe import figures, jobs
from streamsite.observe.metrics import registry

# What proxies add: a request that came through one was not made on this machine.
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-host")


class MetricsMiddleware:
    """Answers /metrics before hosts, https and sessions count: Prometheus asks by address."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path != "/metrics":
            return await self.get_response(request)
        if not settings.METRICS_TOKEN:
            if not is_of_this_machine(request):
                return HttpResponse("Not found.\n", status=404, content_type="text/plain")
        elif not has_token(request):
            headers = {"WWW-Authenticate": "Bearer"}
            text = "Send the token of METRICS_TOKEN.\n"
            return HttpResponse(text, status=401, content_type="text/plain", headers=headers)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
        await jobs.watched.look()
        # In the event loop itself: a millisecond, and nothing moves meanwhile.
        response = HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)
        response["Cache-Control"] = "no-store"
        return response


def has_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and constant_time_compare(token, settings.METRICS_TOKEN)


def is_of_this_machine(request: HttpRequest) -> bool:
    """Whether a program of this machine asks, under a loopback name, and no proxy in between.

    The name counts so that neither a proxy that says nothing of itself nor a page in a browser
    here (DNS rebinding) gets through.
    """
    if any(name in request.headers for name in FORWARDED):
        return False
    peer = request.META.get("REMOTE_ADDR") or ""
    if not peer or not is_loopback(f"[{peer}]:0"):
        return False
    domain, _port = split_domain_port(request.headers.get("host", ""))
    return bool(domain) and is_loopback(f"{domain}:0")


def figures_page(request: HttpRequest) -> HttpResponseBase:
    """`figures/` of admin: what /metrics says, for those without Prometheus. Superusers alone."""
    if not request.user.is_superuser:
        raise PermissionDenied
    context = admin.site.each_context(request) | figures.page()
    response = TemplateResponse(request, "admin/figures.html", context)
    response["Cache-Control"] = "private, no-store"
    return response
