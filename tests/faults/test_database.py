"""The database's part: commit order under storms, and histories drawn by hypothesis."""

from tests.faults import sequences, truth
from tests.faults.plans import FaultSite, seed_of_this_run
from tests.servers import Site


def test_a_polling_reader_misses_nothing_of_hundreds_of_interleaved_commits(
    fault_site: FaultSite,
) -> None:
    changes, missed, disorder = fault_site.call(truth.interleavings, fault_site.video(), 2, 5, 40)
    assert changes >= 400
    assert (missed, disorder) == (0, 0)


def test_an_old_page_and_its_frames_are_a_fresh_page(sqlite_site: Site) -> None:
    slug = sqlite_site.video()
    assert sqlite_site.call(sequences.check, slug, 100, seed_of_this_run()) >= 100
