"""The channel layer, which may fail or hang at any time: nothing waits long for it."""

import asyncio
import logging
from collections.abc import Awaitable

logger = logging.getLogger(__name__)

LAYER_SECONDS = 0.5  # the most that one call may take before it is given up


async def bounded(work: Awaitable[object], what: str, level: int = logging.INFO) -> bool:
    """Whether a call of the layer was done in time. Never raises: that it was not is logged, as
    `what` and the kind of error."""
    try:
        async with asyncio.timeout(LAYER_SECONDS):
            await work
    except Exception as error:
        logger.log(level, "%s: %s", what, type(error).__name__)
        return False
    return True
