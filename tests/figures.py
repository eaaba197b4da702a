"""What the servers of a site say at /metrics, read by the official parser."""

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from tests.servers import Site

type Figures = dict[tuple[str, ...], float]


def scrape(site: Site, number: int = 0, headers: dict[str, str] | None = None) -> Figures:
    """Every sample of one server: (name without prefix, then the values of its labels, which
    are in the order of their names) -> value."""
    status, text = ask(site, headers, number=number)
    assert status == 200, text
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = [value for _name, value in sorted(sample.labels.items())]
            key = (sample.name.removeprefix("streamsite_"), *labels)
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def scrape_all(site: Site) -> Figures:
    """The sum over all servers."""
    total: Counter[tuple[str, ...]] = Counter()
    for number in range(len(site.servers)):
        total.update(scrape(site, number))
    return dict(total)


def ask(
    site: Site, headers: dict[str, str] | None = None, *, number: int = 0, method: str = "GET"
) -> tuple[int, str]:
    """Status and text of one request for /metrics, made on this machine without a proxy."""
    connection = site.servers[number].connection(10)
    try:
        connection.request(method, "/metrics", headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
