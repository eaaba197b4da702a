"""Group commit: what is posted while a transaction is under way shares the next one.

A post that comes alone is written at once. In a burst each waits for the transaction before its
own, and what a transaction costs (the rules' queries, the stream's lock, the wait for the disk) is
shared by all in it: the more people post, the more posts a second there are room for.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from comments.actions import Outcome, Sent, perform_posts
from comments.errors import Refused
from comments.services.common import DATABASE_FAILED
from comments.threads import ACTING, in_database

AT_ONCE = 64  # posts in one transaction; how long it holds the stream's lock is bounded with it

type Waiting = tuple[Sent, asyncio.Future[Outcome]]


class GroupCommit:
    """The posts of this process's sockets. One transaction at a time for each video, which they
    would wait for in the database otherwise."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Waiting]] = {}
        self._writing: set[asyncio.Task[None]] = set()

    async def post(self, stream_id: int, sent: Sent) -> Outcome:
        """Write one post, with others. Raises Refused, or a database's error.

        Who does not wait for the end has posted all the same, as with a transaction of one's own.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome] = loop.create_future()
        waiting = self._waiting.get(stream_id)
        if waiting is None:
            self._waiting[stream_id] = deque([(sent, done)])
            writing = loop.create_task(self._write(stream_id))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
        else:
            waiting.append((sent, done))
        return await done

    async def _write(self, stream_id: int) -> None:
        waiting = self._waiting[stream_id]
        while waiting:
            batch = [waiting.popleft() for _ in range(min(len(waiting), AT_ONCE))]
            await self._commit(stream_id, batch)
        del self._waiting[stream_id]

    async def _commit(self, stream_id: int, batch: list[Waiting]) -> None:
        outcomes: Sequence[Outcome | Exception]
        try:
            posts = [sent for sent, _done in batch]
            outcomes = await in_database(perform_posts, ACTING)(stream_id, posts)
        except (Refused, *DATABASE_FAILED) as error:
            outcomes = [error] * len(batch)  # of the database's state, so of all alike
        except Exception as error:
            if len(batch) > 1:
                # A mistake of ours that one of them met must not cost the others their comment.
                for one in batch:
                    await self._commit(stream_id, [one])
                return
            outcomes = [error]
        for (_sent, done), outcome in zip(batch, outcomes, strict=True):
            if done.done():
                continue  # cancelled: its socket is gone
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)


group_commit = GroupCommit()
