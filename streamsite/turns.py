"""So many at once from each address; who comes beyond that waits for a turn, in order."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable


class Turns:
    """What is under way, by address, and who waits for some of it to end."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._waiting: dict[str, OrderedDict[Hashable, Callable[[], None]]] = {}

    def take(self, address: str, most: int, who: Hashable, begin: Callable[[], None]) -> bool:
        """Whether there is a turn left of `most`; else `begin` is called when it is theirs."""
        if self._under_way[address] >= most:
            self._waiting.setdefault(address, OrderedDict())[who] = begin
            return False
        self._under_way[address] += 1
        return True

    def give_back(self, address: str) -> None:
        """End a turn; it goes to whoever waits longest."""
        if address in self._waiting:
            _who, begin = self._waiting[address].popitem(last=False)
            self._forget_if_empty(address)
            begin()
            return
        self._under_way[address] -= 1
        if not self._under_way[address]:
            del self._under_way[address]

    def leave(self, address: str, who: Hashable) -> None:
        """They do not wait any more, if they did."""
        if address in self._waiting:
            self._waiting[address].pop(who, None)
            self._forget_if_empty(address)

    def _forget_if_empty(self, address: str) -> None:
        if not self._waiting[address]:
            del self._waiting[address]
