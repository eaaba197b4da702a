"""A crowd of viewers, posters and moderators on one video, and the books that are kept of them.

What is promised is checked here: all the time, where it must always hold, and against the database
once the dust has settled.
"""

import asyncio
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from comments.stream import RESUME_AT_MOST
from tests.client import Person
from tests.faults import truth
from tests.faults.frames import Answer, Page, Parsed
from tests.faults.viewers import Action, Door, Link, Manner, Viewer
from tests.servers import Site

WITH_REDIS = 1.0  # seconds from its acknowledgement until a removal has left every connected page
WITHOUT_REDIS = 3.0

SETTLE_SECONDS = 60.0
TICK = 0.05


@dataclass
class Removal:
    number: int
    acked_at: float  # wall clock
    restored: bool = False  # a restoring was sent: whoever shows it again is right


@dataclass
class Blind:
    """A time in which a server (None: all) could not tell its viewers anything: it was frozen."""

    server: int | None
    since: float
    until: float | None = None

    def covers(self, server: int, since: float, until: float) -> bool:
        if self.server not in (None, server):
            return False
        return self.since <= until and (self.until is None or self.until >= since)


@dataclass
class Report:
    """What one fault came to. The first five must be 0."""

    name: str
    seed: int
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    stale_removals: int = 0
    stored_twice: int = 0
    wrong: list[str] = field(default_factory=list)  # anything else that must not be
    details: list[str] = field(default_factory=list)  # of each violation, the first few
    viewers: int = 0
    comments: int = 0
    removals: int = 0
    deliveries: int = 0
    reconnects: int = 0
    resets: int = 0
    closes: Counter[str] = field(default_factory=Counter)  # of reconnects: after which close code
    tried_again: int = 0  # answers `try_again`
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    worst_removal: float = 0.0
    seconds: float = 0.0
    faults: int = 0
    noted: str = ""  # in words, what else was measured

    @property
    def holds(self) -> bool:
        return not (
            self.lost
            or self.doubled
            or self.out_of_order
            or self.stale_removals
            or self.stored_twice
            or self.wrong
        )

    @property
    def violations(self) -> dict[str, int]:
        return {
            "lost": self.lost,
            "doubled": self.doubled,
            "out of order": self.out_of_order,
            "stale removals": self.stale_removals,
            "stored twice": self.stored_twice,
        }

    def __str__(self) -> str:
        found = ", ".join(f"{name} {count}" for name, count in self.violations.items())
        return "\n".join(
            [
                f"{self.name} (FAULT_SEED={self.seed}): {found}",
                (
                    f"  {self.faults} faults, {self.viewers} viewers, {self.comments} comments,"
                    f" {self.removals} removals, {self.deliveries} deliveries in"
                    f" {self.seconds:.0f} s; delay p50 {self.p50 * 1000:.0f} ms,"
                    f" p99 {self.p99 * 1000:.0f} ms, worst {self.worst:.2f} s,"
                    f" worst removal {self.worst_removal:.2f} s;"
                    f" {self.reconnects} reconnects {dict(self.closes)}, {self.resets} resets,"
                    f" {self.tried_again} told to try again; {self.noted}"
                ),
                *(f"  WRONG: {line}" for line in self.wrong),
                *(f"  {line}" for line in self.details),
            ]
        )


class Crowd:
    """All that watch one video. `doors` are where they connect; one is drawn at every attempt."""

    def __init__(
        self,
        site: Site,
        name: str,
        seed: int,
        *,
        manner: Manner,
        bound: float = WITH_REDIS,
        doors: list[Door] | None = None,
    ) -> None:
        self.site = site
        self.seed = seed
        self.random = random.Random(seed)
        self.manner = manner
        self.bound = bound
        self.doors = doors or [Door(s.port, n) for n, s in enumerate(site.servers)]
        self.slug = site.video()
        self.viewers: list[Viewer] = []
        self.posters: list[Viewer] = []
        self.moderators: list[Viewer] = []
        self.report = Report(name, seed)
        self.acked: dict[str, int] = {}  # key -> number
        self.refused_keys: dict[str, str] = {}  # key -> code
        self.sent: set[str] = set()
        self.removals: dict[int, Removal] = {}
        self.blinds: list[Blind] = []
        self.quiet = False
        self.dead_links: set[int] = set()  # local ports whose bytes a proxy swallows
        self.delays = [0] * 60_000  # deliveries by whole ms
        self.thawed: defaultdict[int, float] = defaultdict(float)  # server -> wall clock
        self._lags: list[tuple[float, float]] = []  # when this process itself was late, how much
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept_busy: list[asyncio.Task[None]] = []

    # --- coming and going ---------------------------------------------------------------------

    async def gather(self, viewers: int, *, posters: int = 0, moderators: int = 2) -> None:
        """Open the pages over HTTP, then the sockets; until everybody is seated."""
        posters = posters or max(4, viewers // 10)
        await asyncio.to_thread(self._open_pages, viewers, posters, moderators)
        for viewer in self.viewers:
            viewer.start()
            await asyncio.sleep(0.002)
        await self.until(lambda: all(v.is_seated for v in self.viewers), "everybody is seated", 30)
        self._kept_busy = [
            asyncio.create_task(self._look_at_clocks()),
            asyncio.create_task(self._measure_lag()),
        ]

    def _open_pages(self, viewers: int, posters: int, moderators: int) -> None:
        count = len(self.site.servers)
        for n in range(moderators):
            person = Person(self.site, server=n % count).signed_in("mona")
            self.moderators.append(self._viewer(f"moderator {n}", person, staff=True))
        for n in range(posters):
            person = Person(self.site, server=n % count)
            self.posters.append(self._viewer(f"poster {n}", person))
        self.viewers += self.moderators + self.posters
        shared = self._open(Person(self.site))
        for n in range(viewers - len(self.viewers)):
            viewer = Viewer(self, f"viewer {n}", self.slug, shared.copy())
            self.viewers.append(viewer)

    def _open(self, person: Person) -> Page:
        response = person.get(f"/videos/{self.slug}/")
        assert response.status == 200, response.text[:2000]
        return Page.of_html(response.text)

    def _viewer(self, name: str, person: Person, *, staff: bool = False) -> Viewer:
        page = self._open(person)
        cookie = person.cookie_header
        return Viewer(self, name, self.slug, page, cookie, staff, person.address)

    async def leave(self) -> None:
        for task in (*self._kept_busy, *self._tasks):
            task.cancel()
        results = await asyncio.gather(*(v.stop() for v in self.viewers), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                self.wrong(f"a viewer failed: {result!r}")

    async def until(self, condition: Callable[[], object], what: str, seconds: float) -> bool:
        """Whether the condition came to hold; if not, that is noted as wrong."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                self.wrong(f"not within {seconds:.0f} s: {what}")
                return False
            await asyncio.sleep(TICK)
        return True

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.wrong(f"the simulation failed: {error!r}")

    # --- the load -----------------------------------------------------------------------------

    async def talk(self, rate: float, *, removals: float = 0.05) -> None:
        """Comments until cancelled, `rate` a second; of these so many are removed, some restored.

        One in fifty is refused for being too long: its key must not be stored.
        """
        started = time.monotonic()
        said = 0
        while True:
            if self.quiet:
                said = int((time.monotonic() - started) * rate) + 1
                await asyncio.sleep(TICK)
                continue
            while said < (time.monotonic() - started) * rate:
                said += 1
                self.say()
                if self.random.random() < removals:
                    self.spawn(self._moderate())
            await asyncio.sleep(TICK)

    async def be_quiet(self) -> None:
        """Nothing new is said; until all that was said is everywhere."""
        self.quiet = True
        await self.settle()

    def go_on(self) -> None:
        self.quiet = False

    def forget_beyond(self, number: int) -> None:
        """A backup is about to be restored: what is beyond is not on record any more."""
        self.acked = {key: found for key, found in self.acked.items() if found <= number}
        for removal in self.removals.values():
            removal.restored = True
        self.removals.clear()

    def say(self, text: str = "") -> str:
        key = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        too_long = not text and self.random.random() < 0.02
        body = f"{key} {text or 'x' * (600 if too_long else self.random.randrange(60))}".strip()
        self.sent.add(key)
        poster = self.random.choice(self.posters)
        poster.act(Action(key, {"action": "post", "body": body}))
        return key

    async def _moderate(self) -> None:
        moderator = self.random.choice(self.moderators)
        shown = [n for n in moderator.page.order[-100:] if not moderator.page.rows[n].removed]
        shown = [n for n in shown if n not in self.removals]
        if not shown:
            return
        number = self.random.choice(shown)
        self.removals[number] = Removal(number, 0.0)
        restore = self.random.random() < 0.4
        key = f"remove-{number}-{self.random.getrandbits(32):x}"
        moderator.act(Action(key, {"action": "remove", "number": number}))
        removal = self.removals[number]
        while not removal.acked_at:
            await asyncio.sleep(TICK)
        if restore:
            await asyncio.sleep(self.bound + 1.5)
            removal.restored = True
            key = f"restore-{number}-{self.random.getrandbits(32):x}"
            moderator.act(Action(key, {"action": "restore", "number": number}))

    # --- the books (called by the viewers) ----------------------------------------------------

    def door(self) -> Door:
        return self.random.choice(self.doors)

    def seated(self, viewer: Viewer) -> None:
        """Whoever comes back must learn first of what was removed meanwhile."""
        long_ago = viewer.seated_at - self.bound - self.lag_since(viewer.seated_at - 5)
        rows = viewer.page.rows
        viewer.owed = {
            removal.number
            for removal in self.removals.values()
            if 0 < removal.acked_at < long_ago
            and not removal.restored
            and not viewer.staff
            and self._shows(rows.get(removal.number))
            and not self._is_blind(viewer.server, removal.acked_at, viewer.seated_at)
        }

    def applied(self, viewer: Viewer, frame: Parsed, *, moved: bool) -> None:
        now = time.time()
        for state in frame.states:
            if state.removed:
                self._has_learnt(viewer, state.number, now)
            elif state.is_new and viewer.seated_at:
                self._delivered(viewer, state.posted_at, now)
        if moved and viewer.owed:
            for number in viewer.owed:
                removal = self.removals[number]
                if self._shows(viewer.page.rows.get(number)) and not removal.restored:
                    self.report.stale_removals += 1
                    self.detail(f"{viewer.name} came back and still shows removed {number}")
            viewer.owed = set()

    def _delivered(self, viewer: Viewer, posted_at: float, now: float) -> None:
        begun = max(posted_at, viewer.seated_at, self.thawed[viewer.server])
        delay = max(0.0, now - begun)
        self.delays[min(int(delay * 1000), len(self.delays) - 1)] += 1

    def _has_learnt(self, viewer: Viewer, number: int, now: float) -> None:
        removal = self.removals.get(number)
        if removal and removal.acked_at and not removal.restored and not viewer.staff:
            begun = max(removal.acked_at, viewer.seated_at, self.thawed[viewer.server])
            self.report.worst_removal = max(self.report.worst_removal, now - begun)

    def was_reset(self, viewer: Viewer, epoch: str, change: int) -> None:
        """A page that stood there was sent the window anew; right only where it had to be."""
        page = viewer.page
        if page.epoch == epoch and 0 <= page.change - change <= RESUME_AT_MOST:
            self.wrong(f"{viewer.name} was reset at {epoch}-{change}, the head being {page.change}")

    def answered(self, viewer: Viewer, action: Action, answer: Answer) -> None:
        verb = action.fields["action"]
        if answer.code:
            if verb != "post":
                self.wrong(f"{action.fields} was refused: {answer.code}")
            self.refused_keys[action.key] = answer.code
        elif verb == "post":
            self.acked[action.key] = answer.number
        elif verb == "remove":
            removal = self.removals[answer.number]
            removal.acked_at = time.time()
            self.report.removals += 1
            self.spawn(self._check_removal(removal))

    def try_again(self, viewer: Viewer) -> None:
        self.report.tried_again += 1

    def broken(self, viewer: Viewer, error: Exception) -> None:
        self.wrong(f"{viewer.name} could not read a frame: {error!r}")

    def refused(self, viewer: Viewer, code: int) -> None:
        self.wrong(f"{viewer.name} was sent away with {code}")

    def reconnects(self, viewer: Viewer, after: Link) -> None:
        self.report.reconnects += 1
        why = f"{after.code}" if after.status in (0, 101) else f"HTTP {after.status}"
        self.report.closes[why] += 1

    def wrong(self, line: str) -> None:
        if len(self.report.wrong) < 10:
            self.report.wrong.append(line)

    def detail(self, line: str) -> None:
        if len(self.report.details) < 10:
            self.report.details.append(line)

    # --- what must hold at all times ----------------------------------------------------------

    @staticmethod
    def _shows(state: Any) -> bool:
        return state is not None and not state.removed

    def blind(self, server: int | None) -> Blind:
        """Nothing can be expected of a frozen process; end it with `sees_again`."""
        self.blinds.append(Blind(server, time.time()))
        return self.blinds[-1]

    def sees_again(self, blind: Blind) -> None:
        blind.until = time.time()
        for server in range(len(self.site.servers)) if blind.server is None else [blind.server]:
            self.thawed[server] = blind.until

    def _is_blind(self, server: int, since: float, until: float) -> bool:
        return any(blind.covers(server, since, until) for blind in self.blinds)

    async def _check_removal(self, removal: Removal) -> None:
        """Once the bound has passed, no page that was connected all the time shows the text."""
        since = removal.acked_at
        unknown = set(self.viewers)
        while unknown:
            await asyncio.sleep(self.bound)
            await asyncio.sleep(self.lag_since(since))
            await asyncio.sleep(0)  # what has arrived meanwhile is read first
            if removal.restored:
                return
            now = time.time()
            for viewer in list(unknown):
                if self._is_blind(viewer.server, since, now):
                    continue  # looked at again after another bound
                unknown.discard(viewer)
                if (
                    not viewer.staff
                    and 0 < viewer.seated_at <= since
                    and viewer.link is not None
                    and viewer.link.local_port not in self.dead_links
                    and self._shows(viewer.page.rows.get(removal.number))
                ):
                    self.report.stale_removals += 1
                    self.detail(
                        f"{viewer.name} (server {viewer.server}) shows {removal.number}"
                        f" {now - since:.2f} s after its removal"
                    )
            since = time.time() if unknown else since

    async def _look_at_clocks(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            for viewer in self.viewers:
                viewer.look_at_the_clock()

    async def _measure_lag(self) -> None:
        """How late this process runs itself: a bound cannot be judged more finely than that."""
        while True:
            due = time.time() + TICK
            await asyncio.sleep(TICK)
            if (lag := time.time() - due) > TICK:
                self._lags.append((time.time(), lag))

    def lag_since(self, moment: float) -> float:
        return 2 * max((lag for at, lag in self._lags[-200:] if at >= moment), default=0.0)

    # --- when the dust has settled ------------------------------------------------------------

    async def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Until everything sent is answered and every page stands at the head."""

        def unanswered() -> int:
            return sum(len(viewer.waiting) for viewer in self.viewers)

        deadline = time.monotonic() + seconds
        moderating = list(self._tasks)
        if moderating:
            await asyncio.wait(moderating, timeout=seconds)
        await self.until(
            lambda: not unanswered(), "every action is answered", deadline - time.monotonic() + 5
        )
        while True:
            epoch, head = await self.ask(truth.head_of, self.slug)
            behind = [
                v for v in self.viewers
                if not v.is_seated or (v.page.epoch, v.page.change) != (epoch, head)
            ]  # fmt: skip
            if not behind or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.25)
        for viewer in behind[:5]:
            where = f"at {viewer.page.cursor}" if viewer.is_seated else "not connected"
            self.wrong(f"{viewer.name} is {where} when the dust has settled at {epoch}-{head}")

    async def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Ask the database, once more where it has just been restarted."""
        for _ in range(5):
            try:
                return await asyncio.to_thread(self.site.call, function, *arguments)
            except AssertionError:
                await asyncio.sleep(0.5)
        return await asyncio.to_thread(self.site.call, function, *arguments)

    async def compare(self) -> Report:
        """list == SQL for every viewer, and every key as often as it should be."""
        found = await self.ask(truth.everything, self.slug)
        rows = found["rows"]
        visible = {n: (change, text) for n, change, _key, text, removed in rows if not removed}
        removed = {n: (change, text) for n, change, _key, text, removed in rows if removed}
        for viewer in self.viewers:
            self._compare_one(viewer, visible, removed)
        self._compare_keys(Counter(key for _n, _c, key, _t, _r in rows))
        changes = sorted(change for _n, change, *_rest in rows)
        if len(set(changes)) != len(changes):
            self.wrong("two comments have the same change")
        self._summarise(len(rows))
        return self.report

    def _compare_one(
        self, viewer: Viewer, visible: dict[int, Any], removed: dict[int, Any]
    ) -> None:
        page, report = viewer.page, self.report
        report.doubled += page.doubled
        report.out_of_order += page.disordered
        if page.disordered:
            self.detail(f"{viewer.name} saw disorder {page.disordered} times")
        report.resets += page.resets
        due = visible | removed if viewer.staff else visible
        expected = {n: row for n, row in due.items() if n >= page.floor}
        shown = {
            n: (state.change, state.text)
            for n, state in page.rows.items()
            if n >= page.floor and (viewer.staff or not state.removed)
        }
        if page.order != sorted(set(page.order)):
            report.out_of_order += 1
        lost = [n for n in expected if n not in shown]
        wrong = [n for n, row in shown.items() if expected.get(n) != row]
        for number in lost:
            self.detail(f"{viewer.name} lacks {number}: {visible.get(number)}")
        for number in wrong:
            self.detail(f"{viewer.name} shows {number} as {shown[number]}: {expected.get(number)}")
        report.lost += len(lost) + len([n for n in wrong if n in expected])
        report.stale_removals += len([n for n in wrong if n not in expected and n in removed])
        never_stored = [n for n in wrong if n not in expected and n not in removed]
        if never_stored:
            self.wrong(f"{viewer.name} shows what is not stored: {never_stored[:5]}")
        texts = Counter(text for _change, text in shown.values())
        report.doubled += sum(count - 1 for count in texts.values())

    def _compare_keys(self, stored: Counter[str]) -> None:
        for key, count in stored.items():
            if count > 1:
                self.report.stored_twice += count - 1
                self.detail(f"the key {key} is stored {count} times")
        missing = [key for key in self.acked if key not in stored]
        if missing:
            self.report.lost += len(missing)
            self.detail(f"acknowledged and not stored: {missing[:5]} of {len(missing)}")
        for key, code in self.refused_keys.items():
            if key in stored:
                self.wrong(f"{key} was refused ({code}) and is stored")
        if unknown := [key for key in self.sent if key in stored and key not in self.acked]:
            self.wrong(f"stored and never acknowledged: {len(unknown)}")

    def _summarise(self, comments: int) -> None:
        report = self.report
        report.viewers, report.comments = len(self.viewers), comments
        report.deliveries = total = sum(self.delays)
        so_far = 0
        for ms, count in enumerate(self.delays):
            if not count:
                continue
            if so_far < total * 0.5 <= so_far + count:
                report.p50 = ms / 1000
            if so_far < total * 0.99 <= so_far + count:
                report.p99 = ms / 1000
            so_far += count
            report.worst = ms / 1000
