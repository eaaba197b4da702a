"""The viewers' quick reading of frames means the same as tests.page's careful one."""

import asyncio

from tests.client import Person
from tests.conftest import MakeSite
from tests.faults.frames import Page, parse
from tests.page import PageModel
from tests.test_hub import new_history, say


def same(fast: Page, careful: PageModel) -> bool:
    """The same rows in the same order, at the same cursor."""
    return fast.cursor == careful.cursor and [
        (n, fast.rows[n].change, fast.rows[n].removed, fast.rows[n].text) for n in fast.order
    ] == [(r.number, r.change, r.state == "removed", r.body) for r in careful.rows.values()]


async def test_the_fast_page_is_the_careful_page(make_site: MakeSite) -> None:
    site = make_site(RATE_VIEWER="off")
    slug = site.video()
    site.call(say, slug, 4)
    alice, mona = Person(site).open(slug), Person(site).signed_in("mona").open(slug)
    pages = []
    for person in (alice, mona):
        html = person.get(f"/videos/{slug}/").text
        pages.append((Page.of_html(html), PageModel(html)))
    compared = 0
    async with alice.socket(slug, "") as one, mona.socket(slug) as two:
        texts = [
            "plain",
            '<b>&amp;</b> "quoted"',
            "www.example.com, and\nmore",
            "বাংলা 👩‍👩‍👧",
        ]
        for text in texts:
            assert (await one.say(text)).is_ack
        for number in (2, 6, 7):
            assert (await two.ask("remove", number=number)).is_ack
        assert (await two.ask("restore", number=6)).is_ack
        site.call(new_history, slug)
        await asyncio.sleep(0)
        head = one.page.epoch
        await one.until(lambda: one.page.epoch != head, "the new history")
        await two.until(lambda: two.page.epoch == one.page.epoch, "the new history")
        for socket, (fast, careful) in zip((one, two), pages, strict=True):
            for frame in socket.frames:
                fast.apply(parse(frame))
                answers = careful.apply(frame)
                assert same(fast, careful), frame
                assert [(a.key, a.code) for a in parse(frame).answers] == [
                    (a.key, a.code) for a in answers
                ]
                compared += 1
            assert fast.resets == careful.resets > 0
            assert (fast.doubled, fast.disordered) == (0, 0)
    assert compared > 15


def test_the_fast_page_counts_what_must_not_be() -> None:
    def row(number: int, change: int) -> str:
        return f'<li id="c-{number}" data-number="{number}" data-change="{change}">x</li>'

    def frame(cursor: int, *rows: str) -> str:
        return "".join(rows) + f'<hx-partial data-cursor="aaaaaaaa-{cursor}"></hx-partial>'

    page = Page()
    page.apply(parse(frame(3, row(1, 1), row(3, 3))))
    page.apply(parse(frame(4, row(2, 4))))
    assert (page.order, page.doubled, page.disordered) == ([1, 2, 3], 0, 0)
    page.apply(parse(frame(5, row(2, 2))))
    assert page.disordered == 1, "an older state over a newer one"
    page.apply(parse(frame(1)))
    assert page.disordered == 2, "the cursor went back"
    page.apply(parse(frame(9, row(8, 8), row(7, 7))))
    assert page.disordered == 3, "changes out of order"
    page.apply(parse(frame(11, row(10, 10), row(10, 11))))
    assert page.doubled == 1
    window = '<hx-partial hx-target="#comments" data-cursor="bbbbbbbb-2">{}</hx-partial>'
    page.apply(parse(window.format(row(2, 2) + row(1, 1))))
    assert (page.order, page.disordered, page.resets) == ([2, 1], 4, 1)
