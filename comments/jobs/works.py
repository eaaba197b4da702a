"""Which function does which kind of job."""

from collections.abc import Mapping

from comments import report
from comments.jobs import exports, posters
from comments.jobs.attempt import Work
from comments.models import Job

WORKS: Mapping[str, Work] = {
    Job.Kind.CSV: exports.csv_file,
    Job.Kind.JSONL: exports.json_lines,
    Job.Kind.VTT: exports.web_vtt,
    Job.Kind.REPORT: report.compute,
    Job.Kind.POSTER: posters.make,
}
