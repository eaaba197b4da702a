"""The files for Prometheus and Grafana, and the documents, name what there is, and all of it."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamsite.observe.redis_load import LIMITS
from tests.figures import ask, scrape
from tests.servers import ROOT, Site

MONITORING = ROOT / "deploy" / "monitoring"
DOCUMENT = ROOT / "docs" / "operating.md"
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
METRIC = re.compile(r"\b(?:streamsite|process)_[a-z_]+\b")


@pytest.fixture
def exported(postgres_site: Site) -> set[str]:
    """The names of all samples of a site with everything."""
    _status, text = ask(postgres_site)
    # By their families: what nothing has happened to yet has no sample.
    return {
        f"{family.name}{suffix}"
        for family in text_string_to_metric_families(text)
        for suffix in SUFFIXES[family.type]
    }


def expressions(path: Path) -> list[str]:
    if path.suffix == ".json":
        panels = json.loads(path.read_text())["panels"]
        return [target["expr"] for panel in panels for target in panel.get("targets", [])]
    found = re.findall(r"expr: >-\n((?: {10}.*\n)+)", path.read_text())
    assert len(found) == path.read_text().count("- alert: ")
    return found


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
def test_every_metric_that_is_named_is_exported(name: str, exported: set[str]) -> None:
    found = expressions(MONITORING / name)
    assert len(found) > 10
    for expression in found:
        metrics = METRIC.findall(expression) or ["up"]
        assert set(metrics) <= exported | {"up"}, expression
        assert expression.count("(") == expression.count(")"), expression
        assert expression.count("{") == expression.count("}"), expression


def test_every_label_that_is_named_is_exported(postgres_site: Site) -> None:
    # Of these everything depends on the value being right.
    said = scrape(postgres_site)
    assert ("sockets_refused_total", "process") in said
    assert {key[1] for key in said if key[0] == "redis_share"} >= {"output_buffer", "memory"}


def test_the_alert_on_redis_has_the_thresholds_of_the_log() -> None:
    (found,) = [e for e in expressions(MONITORING / "alerts.yml") if "redis_share" in e]
    early = {of for of, (least, _advice) in LIMITS.items() if least == 0.5}
    assert {least for least, _advice in LIMITS.values()} == {0.5, 0.8}
    for condition, least in (("!~", "0.8"), ("=~", "0.5")):
        line = re.search(rf'redis_share\{{of{condition}"([a-z_|]+)"\}} > {least}\b', found)
        assert line
        assert set(line[1].split("|")) == early


def test_every_alert_says_what_to_do(exported: set[str]) -> None:
    text = (MONITORING / "alerts.yml").read_text()
    headings = re.findall(r"^#+ (.+)$", DOCUMENT.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
    runbooks = re.findall(r'runbook: "docs/operating\.md#([^"]+)"', text)
    assert len(runbooks) == text.count("- alert: ")
    assert set(runbooks) <= anchors


def test_the_document_has_every_metric_and_no_other(exported: set[str]) -> None:
    tables = re.findall(r"^\| (`[a-z].*?) \|", DOCUMENT.read_text(), re.MULTILINE)
    named = {n for cell in tables for n in re.findall(r"`([a-z_]+)(?:\{[a-z,]+\})?`", cell)}
    ours = {n.removeprefix("streamsite_") for n in exported if n.startswith("streamsite_")}
    families = {re.sub(r"_(bucket|count|sum)$", "", n) for n in ours}
    assert named == families


def test_every_setting_is_in_the_table_of_settings() -> None:
    source = (ROOT / "streamsite" / "settings.py").read_text()
    read = set(re.findall(r"env\.\w+\(\s*\"([A-Z_]+)\"", source))
    table = (ROOT / "docs" / "settings.md").read_text()
    assert "METRICS_TOKEN" in read
    assert {name for name in read if f"| `{name}` |" not in table} == set()
