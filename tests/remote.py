"""Runs functions of the tests in a process with a Site's environment: `python -m tests.remote`.

Reads one JSON request a line from stdin, writes one JSON answer a line. What the functions print
goes to stderr.
"""

import contextlib
import io
import json
import os
import sys
import traceback
from importlib import import_module
from typing import Any


def command(*arguments: str) -> tuple[int, str]:
    """A management command as the command line runs it: exit code and all that it printed."""
    from django.core.management import execute_from_command_line

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            execute_from_command_line(["manage.py", *arguments])
            code: Any = 0
        except SystemExit as end:
            code = end.code
    if isinstance(code, str):
        return 1, f"{printed.getvalue()}{code}\n"
    return int(code or 0), printed.getvalue()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    import django
    from django.db import close_old_connections

    django.setup()
    for line in sys.stdin:
        module, name, arguments, named = json.loads(line)
        try:
            result = getattr(import_module(module), name)(*arguments, **named)
            answer: dict[str, Any] = {"result": result}
        except Exception:
            answer = {"error": traceback.format_exc()}
        close_old_connections()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
