"""Jobs of a benchmark: results on disk, going on, other options."""

import pytest

from seqgen.bench.jobs import Job, result, run_jobs
from seqgen.core.errors import UserError


class Killed(BaseException):
    pass


def jobs(done: list[str], *, killed_at: str = ""):
    def make(name):
        def run():
            if name == killed_at:
                raise Killed
            done.append(name)
            return {"value": len(name)}

        return Job(name, run)

    return [make(name) for name in ("a", "bb", "ccc")]


def test_no_job_runs_twice_and_a_kill_between_jobs_loses_none(tmp_path):
    done: list[str] = []
    with pytest.raises(Killed):
        run_jobs(tmp_path, jobs(done, killed_at="ccc"), {"seeds": 1})
    assert done == ["a", "bb"]
    seconds = iter(range(100))
    found = run_jobs(tmp_path, jobs(done), {"seeds": 1}, clock=lambda: float(next(seconds)))
    assert done == ["a", "bb", "ccc"]
    assert [found[name]["value"] for name in ("a", "bb", "ccc")] == [1, 2, 3]
    assert found["ccc"]["cpu_seconds"] == 1.0
    assert run_jobs(tmp_path, jobs(done), {"seeds": 1}) == found
    assert done == ["a", "bb", "ccc"]
    assert result(tmp_path, "bb") == found["bb"]


def test_a_torn_result_is_measured_again(tmp_path):
    done: list[str] = []
    run_jobs(tmp_path, jobs(done), {})
    (tmp_path / "jobs/bb.json").write_text('{"value": ')
    run_jobs(tmp_path, jobs(done), {})
    assert done == ["a", "bb", "ccc", "bb"]


def test_another_benchmark_is_refused(tmp_path):
    run_jobs(tmp_path, jobs([]), {"seeds": 1, "lengths": (20,)})
    run_jobs(tmp_path, jobs([]), {"seeds": 1, "lengths": [20]})
    with pytest.raises(UserError, match=r"holds a benchmark with seeds=1, not 2; name another --out"):
        run_jobs(tmp_path, jobs([]), {"seeds": 2, "lengths": (20,)})
