"""The verbs. Nobody else writes streams' numbers, comments, or viewers' names.

Each verb takes who acts, checks every rule, writes in one transaction and publishes after the
commit. Each raises `Refused` with its code where a rule forbids it, and then has changed nothing.
The doors (socket, form, admin, command) parse, call one of these, and show the outcome.
"""

from comments.services.common import Held, busy, require_shown
from comments.services.jobs import cancel_job, request_job
from comments.services.moderation import remove, restore
from comments.services.naming import post_as, rename
from comments.services.posting import Draft, parse_key, post, post_many

__all__ = [
    "Draft",
    "Held",
    "busy",
    "cancel_job",
    "parse_key",
    "post",
    "post_as",
    "post_many",
    "remove",
    "rename",
    "request_job",
    "require_shown",
    "restore",
]
