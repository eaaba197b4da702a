"""Many calls at once become one: what is asked while a batch is under way shares the next one.

Who comes alone is served at once. In a burst each waits for the batch before its own, and what a
batch costs (a thread, the queries, a transaction with its locks and its wait for the disk) is
shared by all in it: the more people ask, the more there is room for.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence

from comments.actions import Outcome, Sent, perform_posts
from comments.errors import Refused
from comments.identity import entries
from comments.services.common import DATABASE_FAILED, Held
from comments.threads import ACTING, READING, WAITING, Threads, in_database
from streamsite.observe import context

# After a batch of several, seconds in which those who were just answered may ask again: they then
# share one batch instead of falling into two halves that take turns.
GATHER_SECONDS = 0.002
ARRIVALS_GATHER_SECONDS = 0.01  # sockets that come back in a storm, whom nobody misses meanwhile
AT_ONCE = 64  # calls in one batch; how long a transaction holds its locks is bounded with it


class InBatches[K: Hashable, A, R]:
    """A function of many, to be called for one from the event loop.

    `many(key, arguments)` runs in a thread and answers for each argument, in order, with its
    result or an exception. One batch at a time for each key; those of different keys run apart.
    """

    def __init__(
        self,
        many: Callable[[K, list[A]], Sequence[R | Exception]],
        threads: Threads,
        gather: float = GATHER_SECONDS,
    ) -> None:
        self._many = in_database(many, threads)
        self._gather = gather
        self._waiting: dict[K, deque[tuple[A, asyncio.Future[R]]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, key: K, argument: A) -> R:
        """One result. Raises what there is instead of one, or a database's error.

        Who does not wait for the end is served all the same, as with a thread of one's own.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque([(argument, done)])
            running = loop.create_task(self._run(key))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
        else:
            waiting.append((argument, done))
        return await done

    async def _run(self, key: K) -> None:
        context.forget()  # a batch is not about who came first
        waiting = self._waiting[key]
        try:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(len(waiting), AT_ONCE))]
                try:
                    await self._serve(key, batch)
                except Exception as error:  # a mistake of ours, which is to end nobody else's turn
                    for _argument, done in batch:
                        if not done.done():
                            done.set_exception(error)
                if len(batch) > 1 and len(waiting) < AT_ONCE:
                    await asyncio.sleep(self._gather)
        finally:
            del self._waiting[key]

    async def _serve(self, key: K, batch: list[tuple[A, asyncio.Future[R]]]) -> None:
        results: Sequence[R | Exception]
        try:
            results = await self._many(key, [argument for argument, _done in batch])
        except (Refused, *DATABASE_FAILED) as error:
            results = [error] * len(batch)  # of the database's state, so of all alike
        except Exception as error:
            if len(batch) > 1:
                # A mistake of ours that one of them met must not cost the others their result.
                for one in batch:
                    await self._serve(key, [one])
                return
            results = [error]
        for (_argument, done), result in zip(batch, results, strict=True):
            if done.done():
                continue  # cancelled: its socket is gone
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)


def _post_alone(socket: tuple[int, str | None], posts: list[Sent]) -> list[Outcome | Refused]:
    stream_id, _session_key = socket
    return perform_posts(stream_id, posts, wait=True)


# Group commit: the posts of this process's sockets to one video, which would wait for each other
# in the database otherwise.
_together = InBatches(perform_posts, ACTING)
_alone = InBatches(_post_alone, WAITING)
# Where a video's sockets belong that open, and as whom.
enter = InBatches(entries, READING, gather=ARRIVALS_GATHER_SECONDS)


async def post(stream_id: int, sent: Sent) -> Outcome:
    """Post what a socket sent. Raises Refused, or a database's error."""
    try:
        return await _together(stream_id, sent)
    except Held:
        # Somebody frozen in a transaction has this viewer's row. That is waited for apart.
        return await _alone((stream_id, sent.session_key), sent)
