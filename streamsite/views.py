"""Accounts, uploaded files, and the page for a failed CSRF check."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import LoginView, PasswordChangeView, RedirectURLMixin
from django.core.exceptions import SuspiciousFileOperation
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.urls import reverse_lazy
from django.utils._os import safe_join
from django.utils.cache import get_conditional_response
from django.utils.decorators import method_decorator
from django.utils.http import http_date
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_safe
from django.views.generic import FormView

from comments.identity import MODEL_BACKEND
from streamsite.forms import ChangePasswordForm, SignInForm, SignUpForm
from videos.files import POSTER_TYPES, VIDEO_TYPES, extension

if TYPE_CHECKING:
    SignUpView = FormView[SignUpForm]
else:  # generic for the type checker only
    SignUpView = FormView

# --- Accounts -----------------------------------------------------------------------------------


class SignIn(LoginView):
    authentication_form = SignInForm
    redirect_authenticated_user = True


@method_decorator(
    [sensitive_post_parameters("password1", "password2"), csrf_protect, never_cache],
    name="dispatch",
)
class SignUp(RedirectURLMixin, SignUpView):
    """Make an account, sign in with it, and go on to a safe `next` (RedirectURLMixin checks it)."""

    template_name = "registration/signup.html"
    form_class = SignUpForm
    next_page = settings.LOGIN_REDIRECT_URL

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if request.user.is_authenticated:
            return HttpResponseRedirect(self.get_success_url())
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        return super().get_context_data(next=self.get_redirect_url(), **kwargs)

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        login(self.request, form.save(), backend=MODEL_BACKEND)
        return super().form_valid(form)


class ChangePassword(PasswordChangeView):
    # Not Django's name for it: the admin has a template of that name for its own page.
    template_name = "registration/change_password.html"
    form_class = ChangePasswordForm
    success_url = reverse_lazy("videos:list")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        messages.success(self.request, _("Your password has been changed."))
        return super().form_valid(form)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """`settings.CSRF_FAILURE_VIEW`: what to do, rather than why in terms of cookies and tokens."""
    return render(request, "403_csrf.html", status=403)


# --- Uploaded files -----------------------------------------------------------------------------

MEDIA_TYPES = VIDEO_TYPES | POSTER_TYPES
PIECE_BYTES = 64 * 1024
# What was uploaded is shown or played and never does anything, even opened by itself in a tab
# (where the browser wraps it in a page of its own, with a style of its own).
MEDIA_POLICY = (
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
)


@require_safe
async def media(request: HttpRequest, path: str) -> HttpResponseBase:
    """Serve an uploaded file of MEDIA_ROOT, whole or one range of it (RFC 9110, section 14).

    The content type comes from our own tables by the name's extension, which was checked against
    the content when it was uploaded; anything else that may lie there does not exist for us.
    """
    content_type = MEDIA_TYPES.get(extension(path))
    if content_type is None:
        raise Http404
    try:
        file = await asyncio.to_thread(_open, path)
    except (OSError, ValueError, SuspiciousFileOperation):
        raise Http404 from None  # no such file, a folder, a name that is none, a way out
    try:
        stat = await asyncio.to_thread(os.fstat, file.fileno())
        response = _answer(request, file, stat, content_type)
    except BaseException:
        await asyncio.to_thread(file.close)
        raise
    if not response.streaming:
        await asyncio.to_thread(file.close)
    return response


def _open(path: str) -> BinaryIO:
    return open_file(Path(safe_join(settings.MEDIA_ROOT, path)))


def open_file(path: Path) -> BinaryIO:
    """For `Pieces`. Raises OSError."""
    return path.open("rb")


def _answer(
    request: HttpRequest, file: BinaryIO, stat: os.stat_result, content_type: str
) -> HttpResponseBase:
    size, modified = stat.st_size, int(stat.st_mtime)
    etag = f'"{stat.st_mtime_ns:x}-{size:x}"'
    response: HttpResponseBase = HttpResponse()
    if unchanged := get_conditional_response(request, etag, modified, None):
        response = unchanged
    else:
        span = _range(request, size, etag, modified)
        if span is None:
            start, end = 0, size
        elif span == UNSATISFIABLE:
            response = HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
            start = end = 0
        else:
            start, end = span
        if response.status_code == 200:
            if request.method == "GET":
                response = StreamingHttpResponse(Pieces(file, start, end))
            if span is not None:
                response.status_code = 206
                response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            response.headers["Content-Length"] = str(end - start)
    response.headers["Content-Type"] = content_type
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["ETag"] = etag
    response.headers["Last-Modified"] = http_date(modified)
    response.headers["Cache-Control"] = "public, max-age=3600"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = MEDIA_POLICY
    return response


UNSATISFIABLE = (-1, -1)


def _range(request: HttpRequest, size: int, etag: str, modified: int) -> tuple[int, int] | None:
    """The asked-for bytes as (start, end), the end not included; None for the whole file.

    Several ranges, another unit and what is not understood are answered with the whole file, as
    the RFC allows; so is a range of a file that is not the one the client began with (If-Range).
    """
    if request.method != "GET":  # the only method that ranges are defined for
        return None
    match = re.fullmatch(
        r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", request.headers.get("Range", ""), re.IGNORECASE
    )
    if match is None or not (match[1] or match[2]):
        return None
    if request.headers.get("If-Range", etag) not in (etag, http_date(modified)):
        return None
    if not match[1]:  # the last so many bytes
        length = min(int(match[2]), size)
        return (size - length, size) if length else UNSATISFIABLE
    start = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < start:
        return None
    return (start, min(last + 1, size)) if start < size else UNSATISFIABLE


class Pieces:
    """The bytes from `start` up to `end`, read in a thread: a slow disk holds up nobody else.

    Django closes the response, and with it this and the file, also when nothing was ever read.
    """

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self.file, self.start, self.end = file, start, end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.to_thread(self.file.seek, self.start)
        left = self.end - self.start
        while left > 0:
            piece = await asyncio.to_thread(self.file.read, min(PIECE_BYTES, left))
            if not piece:
                return  # the file was cut while it was being read
            left -= len(piece)
            yield piece

    def close(self) -> None:
        self.file.close()
