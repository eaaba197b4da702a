from tests.servers import Site
from tests.client import Person

async def test_smoke(site: Site, somebody) -> None:
    slug = site.video()
    a, b = somebody(), somebody(server=0)
    a.open(slug); b.open(slug)
    async with a.socket(slug) as sa, b.socket(slug) as sb:
        ans = await sa.say("hello <b>")
        assert ans.is_ack
        await sb.sees("hello <b>")
        await sa.sees("hello <b>")
        print(ans, sb.page.watching, sb.page.is_open)
    print(site.log())
