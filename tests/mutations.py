"""Takes out what upholds each invariant, one at a time, and sees that a test goes red.

    python -m tests.mutations [number ...]

Each mutation is made in a copy of this checkout, and the test that is to catch it runs there.
`nox -s mutations` does it for all; the page docs/invariants.md names the same tests.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "zenvark_web"
COPIED = ("zenvark_web", "tests", "examples", "docs", "pyproject.toml", "README.md")
PYTEST = (
    *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header"),
    *("-m", "slow or not slow"),
)
FAILED = 1  # what pytest returns when a test has failed: not when there is none, or a mistake
PATIENCE = 300


@dataclass(frozen=True)
class Mutation:
    """One change for the worse.

    Args:
        invariant: What it breaks: a number, as docs/architecture.md lists them, or a name, as
            docs/invariants.md lists those of capabilities.
        what: What it does.
        file: Where, in the package.
        old: What stands there once.
        new: What to put in its place.
        test: What must catch it.
    """

    invariant: int | str
    what: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = (
    Mutation(
        1,
        "waiting for Redis blocks the event loop and its calls",
        "_coordination/reporter.py",
        "await self._pause(self._retries.failed(error))",
        '__import__("time").sleep(self._retries.failed(error))',
        "tests/faults/test_network.py::test_calls_go_on_and_all_heals[resets]",
    ),
    Mutation(
        1,
        "a leader with a backlog blocks the event loop and its calls",
        "backends/_time_slices.py",
        "if self._clock() >= self._until:",
        "if False:",
        "tests/issues/test_leader_that_catches_up_stays_awake.py::test_other_tasks_have_their_turns",
    ),
    Mutation(
        2,
        "transitions are written under any lease",
        "backends/scripts/publish.lua",
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then",
        "if false then",
        "tests/cluster/test_takeover.py::test_write_that_arrives_after_its_lease_is_refused",
    ),
    Mutation(
        2,
        "a leader that cannot renew its lease continues to lead",
        "_coordination/election.py",
        "if self.leading and self._clock.monotonic() >= self._held_until - MOMENT:",
        "if False:",
        "tests/cluster/test_outages.py::test_calls_go_on_states_stay_and_all_resumes[hangs]",
    ),
    Mutation(
        3,
        "instances go back to older transitions",
        "_circuits/table.py",
        "if transition.order <= known.order:",
        "if transition.order == known.order:",
        "tests/cluster/test_outages.py::test_nobody_goes_back_to_what_an_older_copy_says",
    ),
    Mutation(
        4,
        "entries missed in an outage are never read",
        "_coordination/reader.py",
        "                self._stale = True\n                await asyncio.sleep",
        "                await asyncio.sleep",
        "tests/faults/test_server.py::test_what_was_trimmed_in_an_outage_is_caught_up_with",
    ),
    Mutation(
        5,
        "a new leader reads only new entries",
        "_judging/checkpoints.py",
        "        return checkpoint.position\n",
        "        return snapshot.results\n",
        "tests/cluster/test_takeover.py::test_killed_leader_is_replaced_and_what_was_reported_counts",
    ),
    Mutation(
        5,
        "a batch that is sent twice counts twice",
        "_judging/checkpoints.py",
        "return batch.number > newest",
        "return batch.number >= newest",
        "tests/coordination/test_judging.py::test_a_batch_whose_reply_was_lost_counts_once",
    ),
    Mutation(
        5,
        "a new leader ignores the window snapshots of the last one",
        "_core/circuit.py",
        "        return snapshot.window is None or self._counting.restore(snapshot.window)\n",
        "        return True\n",
        "tests/coordination/test_checkpoints.py"
        "::test_failures_on_both_sides_of_a_takeover_open_together",
    ),
    Mutation(
        5,
        "results in the window snapshots are counted again",
        "_judging/checkpoints.py",
        "            if entry.position > self._counted_up_to.get(report.circuit, START)\n",
        "            if True\n",
        "tests/coordination/test_checkpoints.py::test_a_changed_strategy_counts_from_the_beginning",
    ),
    Mutation(
        5,
        "a checkpoint passes results before their decision is published",
        "_judging/checkpoints.py",
        "            await caught_up()\n",
        "",
        "tests/coordination/test_checkpoints.py"
        "::test_results_are_not_passed_over_before_their_verdict_is_published",
    ),
    Mutation(
        5,
        "Retry-After deadlines are not reported to the leader",
        "_circuits/batch_builder.py",
        "            retry_after=circuit.retry_after_left(now),\n",
        "            retry_after=None,\n",
        "tests/cluster/test_retry_after_and_slow_calls.py::test_takeover_keeps_it",
    ),
    Mutation(
        6,
        "results of earlier generations count",
        "_core/circuit.py",
        "            if run.generation == self.latest.generation:\n",
        "            if run.generation <= self.latest.generation:\n",
        "tests/unit/test_circuit.py::TestClosed::test_ignores_results_of_other_generations",
    ),
    Mutation(
        6,
        "a call counts in the generation of its end",
        "breaker.py",
        "            local.succeeded(generation, began, ended, ended - began)\n        else:\n",
        "            local.succeeded(local.admission.generation, began, ended, 0.0)\n"
        "        else:\n",
        "tests/coordination/test_ways_of_a_call.py::test_all_record_the_same",
    ),
    Mutation(
        6,
        "a success extends a run of another generation",
        "_circuits/local.py",
        "            and run.generation == generation\n            and ended < run.until\n"
        "            and elapsed",
        "            and ended < run.until\n            and elapsed",
        "tests/coordination/test_ways_of_a_call.py"
        "::test_each_call_counts_in_the_generation_of_its_beginning",
    ),
    Mutation(
        8,
        "a timed call that is dropped stays in flight",
        "breaker.py",
        "            if timed:\n                local.in_flight.end(id(flow))\n"
        "            _broken(",
        "            _broken(",
        "tests/coordination/test_ways_of_a_call.py"
        "::test_a_call_that_is_dropped_is_in_flight_no_longer",
    ),
    Mutation(
        7,
        "data that Redis has lost is not written again",
        "_judging/leader.py",
        "        for name in lost:\n",
        "        for name in ():\n",
        "tests/cluster/test_outages.py::test_calls_go_on_states_stay_and_all_resumes"
        "[comes back empty]",
    ),
    Mutation(
        7,
        "a leader that outlives a data loss does not check for it",
        "_coordination/reader.py",
        "        leader.rewrite_checkpoint(snapshot)\n",
        "",
        "tests/coordination/test_checkpoints.py::test_what_the_store_has_lost_is_written_again",
    ),
    Mutation(
        7,
        "results that a hung server accepts late are counted",
        "_judging/checkpoints.py",
        "            _without_expired(report)\n",
        "            report\n",
        "tests/cluster/test_outages.py::test_only_fresh_failures_of_a_long_outage_count",
    ),
    Mutation(
        8,
        "pending results are unbounded",
        "_circuits/local.py",
        "elif self._budget.used < self._budget.limit or self._make_room():",
        "elif True:",
        "tests/coordination/test_judging.py::test_what_finds_no_room_is_dropped_counted_and_told",
    ),
    Mutation(
        8,
        "pending results of other threads are unbounded",
        "_circuits/handover.py",
        "if len(self._incoming) >= MAX_INCOMING:",
        "if False:",
        "tests/cluster/test_own_thread.py"
        "::test_a_line_that_is_full_turns_results_away_and_counts_them",
    ),
    Mutation(
        8,
        "recalls of unused permits accumulate",
        "_judging/recalls.py",
        "        self._waiting[transition.circuit] = transition\n",
        "        self._waiting[f'{transition}'] = transition\n",
        "tests/coordination/test_trials_recalled.py::test_a_circuit_that_asks_again_waits_once",
    ),
    Mutation(
        8,
        "circuits without calls are kept forever",
        "_judging/leader.py",
        "        return [*astray, *forgettable][:FORGET_AT_ONCE]\n",
        "        return []\n",
        "tests/coordination/test_forgetting.py::test_only_what_is_closed_old_and_quiet_is_forgotten",
    ),
    Mutation(
        8,
        "window snapshots of removed circuits are kept forever",
        "_judging/evaluator.py",
        "                self._note_change(gone)  # the checkpoint drops its window\n",
        "",
        "tests/coordination/test_checkpoints.py::test_nothing_is_kept_of_circuits_that_are_gone",
    ),
    Mutation(
        8,
        "names that are reported once displace counts",
        "_judging/places.py",
        "        if self._reports < 2 or not circuit.has_failures:\n",
        "        if True:\n",
        "tests/issues/test_new_names_take_no_count.py"
        "::test_failures_in_a_row_open_a_circuit_whatever_comes_between",
    ),
    Mutation(
        8,
        "open circuits exceed the limit of circuits",
        "_judging/places.py",
        "        if len(self._places) < self._most:\n",
        "        if len(self._places) < self._most or not self._lines[Rank.LIGHT]:\n",
        "tests/issues/test_new_names_take_no_count.py"
        "::test_names_that_fail_until_they_open_take_no_more_room_than_there_is",
    ),
    Mutation(
        8,
        "all due health checks run at once",
        "_judging/check_places.py",
        "        return running < MAX_CHECKS\n",
        "        return True\n",
        "tests/coordination/test_health_checks_at_once.py::test_only_so_many_run_at_a_time",
    ),
    Mutation(
        7,
        "a demoted server keeps its connections",
        "backends/redis.py",
        "            if is_stale(error):\n                self._stale",
        "            if False:\n                self._stale",
        "tests/issues/test_planned_failover.py::test_every_instance_finds_the_new_primary",
    ),
    Mutation(
        9,
        "the shared clock is the host's clock",
        "_runtime/clock.py",
        "            self._offset = now - (asked + answered) / 2\n",
        '            self._offset = __import__("time").time() - 3600 - self.monotonic()\n',
        "tests/faults/test_hosts.py::test_clocks_an_hour_wrong",
    ),
    Mutation(
        9,
        "time stamps that stand still are used",
        "_runtime/clock.py",
        "stamp <= self._clock.now() + AHEAD\n",
        "True\n",
        "tests/unit/test_clock.py"
        "::TestFrame::test_stamps_that_stand_still_arrive_now_and_tell_nothing",
    ),
    Mutation(
        9,
        "a leader counts in seconds that do not follow the clock of Redis",
        "_runtime/clock.py",
        "        return self._clock.offset - self._offset\n",
        "        return 0.0\n",
        "tests/simulation/test_clock_steps.py::test_waits_are_as_long_as_ever_and_told_rightly",
    ),
    Mutation(
        9,
        "a leader ignores which times its predecessor has counted",
        "_judging/leader.py",
        "        yield max(newest, reached), reached\n",
        "        yield reached, reached\n",
        "tests/coordination/test_checkpoints.py"
        "::test_what_came_after_the_checkpoint_counts_after_it_though_the_clock_was_set_back",
    ),
    Mutation(
        9,
        "a leader ignores how much time has passed since its predecessor counted",
        "_runtime/clock.py",
        "self.entering(min(stamp, self._clock.now()))",
        "self.now()",
        "tests/coordination/test_checkpoints.py"
        "::test_what_came_after_the_checkpoint_counts_after_it_though_the_clock_was_set_back",
    ),
    Mutation(
        7,
        "a lease from an older copy of the data is kept without leading",
        "_coordination/election.py",
        "            if lease.epoch < self.epoch:  #",
        "            if False:  #",
        "tests/cluster/test_takeover.py::test_lease_from_an_older_copy_of_the_store_is_given_back",
    ),
    Mutation(
        10,
        "a background error is not reported",
        "_runtime/notifier.py",
        "            self._call(self._callbacks.on_error, error)\n\n    def state_changed",
        "            pass\n\n    def state_changed",
        "tests/cluster/test_errors.py::test_strategy_that_raises[used]",
    ),
    Mutation(
        10,
        "errors of one circuit displace those of another",
        "_runtime/floods.py",
        "        told = self._told.get(source, 0)",
        "        source = None\n        told = self._told.get(source, 0)",
        "tests/issues/test_errors_hide_no_others.py"
        "::test_a_broken_classifier_does_not_hide_that_of_another_circuit",
    ),
    Mutation(
        10,
        "hanging checks open other circuits",
        "_judging/health.py",
        "        except NoRoomError:\n            raise\n",
        "",
        "tests/coordination/test_health_checks_of_users.py"
        "::TestHanging::test_says_nothing_of_other_circuits",
    ),
    Mutation(
        10,
        "a strategy that raises stops the leader",
        "_judging/evaluator.py",
        "        if ends_this_task(error):\n",
        "        if True:\n",
        "tests/coordination/test_judging.py::test_a_strategy_that_raises_harms_only_its_own_circuit",
    ),
    Mutation(
        11,
        "a cancelled call counts as a failure",
        "_circuits/outcomes.py",
        "            return IGNORED\n",
        "            return FAILURE\n",
        "tests/cluster/test_trials.py::test_cancelled_trials_wedge_nothing",
    ),
    Mutation(
        11,
        "a permit that is returned unused is lost",
        "_core/admission.py",
        "        trial.unused += unused\n",
        "",
        "tests/unit/test_admission.py::TestPermits::test_returned_ones_can_be_taken_again",
    ),
    Mutation(
        11,
        "a disconnected instance uses its permit",
        "_core/admission.py",
        "min(self.heard, self.told) + CUT_OFF if self.heard > self.known_since else NEVER\n",
        'float("inf")\n',
        "tests/unit/test_admission.py::TestUse::test_not_when_the_store_has_not_answered_for_a_while",
    ),
    Mutation(
        11,
        "a holder uses its permit before it has read what was decided before its note",
        "_core/admission.py",
        " if self.heard > self.known_since else NEVER\n",
        "\n",
        "tests/unit/test_admission.py"
        "::TestUse::test_not_before_it_has_read_what_was_decided_before_the_leader_knew",
    ),
    Mutation(
        11,
        "the permits of a silent holder are forgotten while nobody else has calls",
        "_core/circuit.py",
        "            trial.lose_holder()\n",
        "            self._trial = None\n",
        "tests/unit/test_trials.py"
        "::TestSilentHolder::test_keeps_its_permits_while_nobody_else_has_calls",
    ),
    Mutation(
        11,
        "a short cancelled call counts as a failure",
        "_circuits/outcomes.py",
        "        return elapsed > self.slow_after and _is_cancelled(error)\n",
        "        return _is_cancelled(error)\n",
        "tests/coordination/test_cancellations.py::test_others_are_ignored",
    ),
    Mutation(
        11,
        "a dropped permit stays in flight forever",
        "_circuits/permits.py",
        "        if not self.recorded:\n            self._local.in_flight.end(id(self))\n",
        "        pass\n",
        "tests/coordination/test_slow_calls.py::test_a_dropped_permit_is_under_way_no_longer",
    ),
    Mutation(
        5,
        "a call counts as slow in flight and again when it ends",
        "_circuits/in_flight.py",
        "        self.began.pop(call, None)\n",
        "        pass\n",
        "tests/coordination/test_slow_calls.py::test_one_call_fewer_does_not",
    ),
    Mutation(
        12,
        "a run counts as one call",
        "_core/built_in_windows.py",
        "        after = min(count, self._threshold - self._failures)\n",
        "        after = 1\n",
        "tests/unit/test_strategies.py::TestAgainstTheModel::test_one_run_decides_as_its_calls_one_by_one",
    ),
    Mutation(
        12,
        "successes that a leader has summed up are not recorded before a failure",
        "_judging/evaluator.py",
        "        self._end_lull(name)\n        self._note_change(name)\n",
        "        self._note_change(name)\n",
        "tests/unit/test_lulls.py::test_healthy_reports_are_summed_up_and_a_failure_finds_them_recorded",
    ),
    Mutation(
        12,
        "successes are summed up although one of them may open the circuit",
        "_core/built_in_windows.py",
        "return None if self._failures or self._slow else self._width",
        "return self._width",
        "tests/unit/test_lulls.py::test_a_success_opens_when_older_ones_have_left_the_window",
    ),
    Mutation(
        "versions 1",
        "a longer array is refused",
        "backends/_decoding.py",
        "    generation, age, kind, count, label, *_ = packed\n",
        "    generation, age, kind, count, label = packed\n",
        "tests/protocol/test_vectors.py::TestFurtherParts::test_of_a_batch",
    ),
    Mutation(
        "versions 1",
        "the known state that an unknown one names is ignored",
        "backends/_decoding.py",
        """ or _known_state(stored.get("as", ""))\n""",
        "\n",
        "tests/protocol/test_vectors.py::test_entries_mean_what_they_meant",
    ),
    Mutation(
        "versions 1",
        "an unknown state closes a circuit that was open",
        "_core/states.py",
        "            state=known.state,\n",
        "            state=State.CLOSED,\n",
        "tests/coordination/test_newer_versions.py"
        "::test_a_circuit_stays_in_its_state_while_it_is_in_an_unknown_one",
    ),
    Mutation(
        "versions 2",
        "an unreadable report discards its batch",
        "backends/_decoding.py",
        """            failed.append(_unreadable("report", packed, error))\n""",
        "            raise\n",
        "tests/coordination/test_newer_versions.py"
        "::test_an_unreadable_report_costs_no_other_and_is_told",
    ),
    Mutation(
        "versions 3",
        "the leader begins a ramp that a present instance cannot read",
        "_judging/capabilities.py",
        "        return capability not in self._refused\n",
        "        return True\n",
        "tests/coordination/test_newer_versions.py"
        "::TestCapabilities::test_the_leader_begins_no_ramp_that_somebody_cannot_read",
    ),
    Mutation(
        "ramps 1",
        "the credit of a ramp starts at 0 on every instance",
        "_core/ramp.py",
        "    return Fraction(int.from_bytes(",
        "    return 0 * Fraction(int.from_bytes(",
        "tests/unit/test_ramp.py::TestCredit"
        "::test_calls_of_many_instances_do_not_pass_at_one_moment",
    ),
    Mutation(
        "ramps 1",
        "a call that passes takes the whole credit",
        "_core/ramp.py",
        "        self._credit -= 1\n",
        "        self._credit = Fraction(0)\n",
        "tests/unit/test_ramp.py::TestCredit::test_of_n_calls_pass_n_times_the_share",
    ),
    Mutation(
        "ramps 2",
        "the share of an instance that is cut off grows",
        "_core/admission.py",
        "        known = now if self.generation < 0 else min(now, self.heard + CUT_OFF)\n",
        "        known = now\n",
        "tests/simulation/test_ramps.py::TestCutOff::test_the_share_freezes",
    ),
    Mutation(
        "ramps 2",
        "the time of a ramp is taken again whenever it is applied",
        "_core/admission.py",
        "            return known  # its time is taken once",
        "            pass  # its time is taken once",
        "tests/unit/test_ramp_admission.py::TestShare::test_time_is_taken_once",
    ),
    Mutation(
        "ramps 3",
        "a circuit with a ramp closes after its trial calls",
        "_core/circuit.py",
        "        if not self.policy.ramp or not self._surroundings.may_ramp():\n",
        "        if self._trial is not None or not self.policy.ramp:\n",
        "tests/simulation/test_ramps.py::TestSchedule::test_trial_calls_lead_into_it",
    ),
    Mutation(
        "ramps 4",
        "one healthy minute forgives all attempts",
        "_core/backoff.py",
        "    return attempt - forgiven + 1\n",
        "    return 1 if forgiven else attempt + 1\n",
        "tests/unit/test_circuit.py::TestWaits::test_shorten_by_one_step_for_each_forgiven_time",
    ),
    Mutation(
        "ramps 5",
        "each step of a ramp has a window of its own",
        "_core/circuit.py",
        "            self._ascent.count(run)\n",
        "            self._ascent.count(run)\n"
        "            if self._ascent.share(now) != self._ascent.share(now - 5):\n"
        "                self._counting = Counting(self.policy.strategy)\n",
        "tests/unit/test_ramp_circuit.py::TestCounting::test_with_one_window_for_all_steps",
    ),
    Mutation(
        "ramps 5",
        "a ramp ends while its only calls are in flight",
        "_core/ascent.py",
        "        if not results.failed and not in_flight:\n",
        "        if not results.failed:\n",
        "tests/simulation/test_ramps.py::TestFailures::test_calls_that_never_end_open_it",
    ),
    Mutation(
        "throttle 1",
        "a failure that names a wait trips the window first",
        "_core/circuit.py",
        "        throttled = self._obey(instance, report, at, now)\n"
        "        return throttled or self._decide(instance, report, at, now, replayed=replayed)\n",
        "        decided = self._decide(instance, report, at, now, replayed=replayed)\n"
        "        return decided or self._obey(instance, report, at, now)\n",
        "tests/unit/test_throttle.py::TestOneAnswer::"
        "test_precedes_a_threshold_that_its_failure_reaches",
    ),
    Mutation(
        "throttle 1",
        "a named wait makes the next one longer",
        "_core/circuit.py",
        "        attempt = self._waits.next_attempt(self.latest, now) - 1\n"
        "        return self._move(reason, now, attempt=attempt, delay=wait, since=at)\n",
        "        attempt = self._waits.next_attempt(self.latest, now)\n"
        "        return self._move(reason, now, attempt=attempt, delay=wait, since=at)\n",
        "tests/unit/test_throttle.py::TestOneAnswer::test_opens_for_its_wait_and_the_attempt_stays",
    ),
    Mutation(
        "throttle 2",
        "a wait that was named for later is not kept",
        "_core/circuit.py",
        "        end = max(self.latest.retry_at, self._retry_after.until)\n",
        "        end = self.latest.retry_at\n",
        "tests/unit/test_throttle.py::test_a_told_wait_ends_when_told",
    ),
    Mutation(
        "throttle 2",
        "a trial is made though the upstream has said when it wants calls",
        "_core/circuit.py",
        "        return self._resume(now) or self._grant(permits, passed, now)\n",
        "        return self._grant(permits, passed, now)\n",
        "tests/unit/test_throttle.py::TestAfterTheWait::"
        "test_a_rejected_call_begins_the_ramp_and_no_trial",
    ),
    Mutation(
        "throttle 3",
        "a limit with calls left makes the fleet wait",
        "_http/rate_limits.py",
        "(limit.left == 0 or (refused and limit.left is None))",
        "(limit.left == 0 or refused)",
        "tests/http/test_rate_limits.py::test_limits_of_which_nothing_is_left",
    ),
    Mutation(
        "throttle 3",
        "a named wait is unbounded",
        "_core/retry_after.py",
        "            self.until = max(self.until, at + min(seconds, self._longest))\n",
        "            self.until = max(self.until, at + seconds)\n",
        "tests/unit/test_throttle.py::TestOneAnswer::test_opens_for_no_more_than_the_policy_obeys",
    ),
    Mutation(
        "fallbacks 1",
        "a chain ignores its limit of requests",
        "_http/chain_run.py",
        "self._sent >= self._chain.most or not",
        "not",
        "tests/http/test_failed_calls.py::TestChain::test_most_limits_the_requests",
    ),
    Mutation(
        "fallbacks 1",
        "a failed response stays open",
        "_http/attempted_request.py",
        "                await self.ended.aclose()\n",
        "                pass\n",
        "tests/http/test_failed_calls.py::TestChain::test_goes_on_until_a_call_does_not_fail",
    ),
    Mutation(
        "fallbacks 2",
        "errors of the caller are replaced",
        "_http/call.py",
        "        if outcome is FAILURE:\n            self.misses = FAILED\n",
        "        self.misses = FAILED\n        if outcome is FAILURE:\n",
        "tests/http/test_failed_calls.py::TestFailedCalls::test_are_replaced_as_told",
    ),
    Mutation(
        "fallbacks 3",
        "credentials go along a chain",
        "_http/chain.py",
        "        if not of_one_origin(request.url, made.url):\n",
        "        if of_one_origin(request.url, made.url):\n",
        "tests/http/test_failed_calls.py::TestChain::test_credentials_never_go_along",
    ),
    Mutation(
        "fallbacks 3",
        "cookies of another upstream are kept for the first",
        "_http/chain_run.py",
        'response.headers.pop("set-cookie", None)',
        'response.headers.pop("x-nothing", None)',
        "tests/http/test_failed_calls.py::TestChain::"
        "test_no_cookie_of_another_upstream_is_kept_for_the_first",
    ),
    Mutation(
        "fallbacks 4",
        "a body that is gone is sent again",
        "_http/call.py",
        "        return self._upload is not None and self._upload.begun\n",
        "        return False\n",
        "tests/http/test_failed_calls.py::TestChain::"
        "test_a_body_that_is_gone_ends_it_with_an_error_that_says_why",
    ),
    Mutation(
        "quorum 1",
        "results of suspects feed the window",
        "_core/counting.py",
        "        while rest.count and not self._jury.discounts(instance, now):\n",
        "        while rest.count:\n",
        "tests/unit/test_quorum.py::test_a_bad_instance_is_left_out_and_suspected",
    ),
    Mutation(
        "quorum 1",
        "the worst instance is not left out",
        "_core/quorum.py",
        "        if not stands(tallies[:number]):\n",
        "        if not stands(tallies[number:]):\n",
        "tests/unit/test_quorum.py::test_a_bad_instance_is_left_out_and_suspected",
    ),
    Mutation(
        "quorum 1",
        "a new leader knows of no other instance",
        "_core/quorum.py",
        "        if now < self._expected_until:\n",
        "        if False:\n",
        "tests/unit/test_quorum.py::test_a_new_leader_expects_those_that_reported_before",
    ),
    Mutation(
        "quorum 2",
        "those left out are not counted towards the quorum",
        "_core/quorum.py",
        "            if name not in judged and (protects or self.suspects.holds(name, now))\n",
        "            if name not in judged and protects\n",
        "tests/unit/test_quorum.py::test_suspects_count_towards_the_quorum",
    ),
    Mutation(
        "quorum 2",
        "instances that protect themselves are not counted",
        "_circuits/batch_builder.py",
        "    return replace(report, generation=generation, protects_itself=True)\n",
        "    return replace(report, generation=generation)\n",
        "tests/coordination/test_quorum.py::test_one_after_the_other_opens_for_all",
    ),
    Mutation(
        "quorum 2",
        "instances that have left count for ever",
        "_core/quorum.py",
        "            if now - at <= REPORTING:\n",
        "            if at <= now:\n",
        "tests/coordination/test_quorum.py"
        "::test_a_fleet_that_has_just_shrunk_opens_when_those_who_left_no_longer_count",
    ),
    Mutation(
        "quorum 4",
        "an instance with a quorum does not protect itself",
        "_coordination/shard_runner.py",
        "        if is_used(instance):\n",
        "        if False:\n",
        "tests/coordination/test_quorum.py::test_one_bad_instance_protects_itself_only",
    ),
    Mutation(
        "quorum 4",
        "a fleet's transition does not overrule an instance",
        "_circuits/table.py",
        "        self._alone.pop(name, None)\n        self._drop_own(name)\n",
        "        self._alone.pop(name, None)\n",
        "tests/coordination/test_quorum.py::test_the_fleets_transition_overrules_it",
    ),
    Mutation(
        "quorum 5",
        "calls that outlive an own decision count for the next one",
        "_circuits/local.py",
        "        outlived = began < self.own_since\n",
        "        outlived = False\n",
        "tests/coordination/test_quorum.py"
        "::test_calls_that_outlive_its_own_decision_count_for_the_fleet_only",
    ),
    Mutation(
        "quorum 5",
        "calls in flight that outlive an own decision count for the next one",
        "_circuits/local.py",
        "count_slow(self.admission.generation, now, self.own_since)[0]",
        "count_slow(self.admission.generation, now)[0]",
        "tests/coordination/test_quorum.py::test_nor_do_slow_calls_in_flight",
    ),
    Mutation(
        "quorum 6",
        "an instance does not announce that it protects itself",
        "_coordination/election.py",
        "replace(self._me, protects=self._table.protections)",
        "replace(self._me, protects=())",
        "tests/cli/test_suspects.py::test_so_is_who_protects_itself_without_being_a_suspect",
    ),
    Mutation(
        "quorum 7",
        "one failed idle check of a leader opens a circuit with a quorum",
        "_core/circuit.py",
        "self._failed_checks < IDLE_CHECKS_WITH_QUORUM:",
        "False:",
        "tests/unit/test_quorum.py"
        "::TestChecksOfABadLeader::test_idle_checks_must_fail_three_times_in_a_row",
    ),
    Mutation(
        "quorum 7",
        "nobody is asked for a second opinion",
        "_core/circuit.py",
        "        if self.jury is None or holder is None or not enough:\n",
        "        if True:\n",
        "tests/unit/test_quorum.py"
        "::TestChecksOfABadLeader::test_another_instance_gives_a_second_opinion",
    ),
    Mutation(
        "quorum 8",
        "circuits open whatever they have in common",
        "_core/common_cause.py",
        "        if called < LEAST_CALLED or len(self._tripped) <= self._share * called:\n",
        "        if True:\n",
        "tests/unit/test_quorum.py::TestCommonCause::test_most_circuits_do_not_open",
    ),
    Mutation(
        "streams 1",
        "a call that a monitor has failed counts again when it ends",
        "_circuits/stream_clocks.py",
        "        if self._clocks.running.pop(id(self), None) is None:\n"
        "            return False  # a monitor was here\n",
        "        self._clocks.running.pop(id(self), None)\n",
        "tests/unit/test_stream_clocks.py::test_the_first_of_two_threads_settles_a_call",
    ),
    Mutation(
        "streams 1",
        "an outcome of a line does not end the judgement",
        "_http/judge_chunk.py",
        "            if outcome is not None:\n"
        "                return outcome\n"
        "        return None\n",
        "        return outcome if self.lines else None\n",
        "tests/http/test_judge_chunk.py::test_first_outcome_applies",
    ),
    Mutation(
        "streams 2",
        "the clock of a stream runs on while its reader pauses",
        "_http/followed.py",
        "        self._call.took(chunk)\n        return chunk\n\n\n",
        "        self._call.took(chunk)\n        self._call.waits()\n        return chunk\n\n\n",
        "tests/http/test_stream_clocks.py::TestLimits::test_the_readers_pace_is_not_the_upstreams",
    ),
    Mutation(
        "streams 2",
        "the clock of a stream runs while the caller produces the request",
        "_http/stream_call.py",
        "        if self._waiting:\n            self._stop_clock()\n",
        "",
        "tests/http/test_stream_clocks.py::test_the_callers_request_body_is_not_the_upstreams",
    ),
    Mutation(
        "streams 3",
        "a chunk in which a line begins loses it",
        "_http/event_lines.py",
        "        self._keep(chunk[begin:])\n",
        "",
        "tests/unit/test_event_lines.py::test_same_lines_as_in_one_piece",
    ),
    Mutation(
        "page 2",
        "the page may load scripts from anywhere",
        "asgi/_status/answers.py",
        "script-src 'self'; ",
        "script-src *; ",
        "tests/page/test_safety.py::test_every_response_has_the_policy",
    ),
    Mutation(
        "page 3",
        "viewers are unbounded",
        "asgi/_status/app.py",
        "if self._viewers >= MAX_VIEWERS:",
        "if False:",
        "tests/page/test_stream.py::test_viewers_are_bounded",
    ),
    Mutation(
        "page 3",
        "a viewer that never reads is kept",
        "asgi/_status/stream.py",
        "anyio.move_on_after(left)",
        "anyio.move_on_after(None)",
        "tests/page/test_stream.py::test_viewer_that_never_reads_is_dropped",
    ),
    Mutation(
        "page 3",
        "a viewer that reads a little at a time is kept",
        "asgi/_status/stream.py",
        "max(0.0, min(LONGEST_SEND, ends + QUIET - time.monotonic()))",
        "LONGEST_SEND",
        "tests/page/test_stream.py::test_stream_ends_by_its_age_whatever_its_viewer_reads",
    ),
    Mutation(
        "page 3",
        "any number of requests to the page read the store at once",
        "asgi/_status/watch.py",
        "            async with self._room:\n                return",
        "            if True:\n                return",
        "tests/page/test_reads.py::test_reads_wait_for_each_other_and_are_bounded",
    ),
    Mutation(
        "page 4",
        "whoever reaches the page may act",
        "asgi/_status/requests.py",
        'if right == "act":',
        "if False:",
        "tests/page/test_acts.py::test_without_authorize_nothing_changes",
    ),
    Mutation(
        "page 4",
        "pages of other sites may act",
        "asgi/_status/app.py",
        "        check_origin(scope)\n",
        "",
        "tests/page/test_acts.py::test_other_sites_are_refused",
    ),
    Mutation(
        "page 5",
        "streams go on when the server has stopped listening",
        "asgi/_status/stream.py",
        "if listener is not None and not listener.is_open:",
        "if False:",
        "tests/page/test_servers.py::test_sigterm_ends_it_at_once[uvicorn]",
    ),
    Mutation(
        "overrides 1",
        "an override is applied though one before it is missing",
        "_core/overrides.py",
        "if record.follows != self.number:",
        "if record.follows > record.number:",
        "tests/unit/test_overrides.py::TestGaps::test_what_misses_its_predecessor_is_not_applied",
    ),
    Mutation(
        "overrides 1",
        "what a store has lost is not given back",
        "_coordination/reader.py",
        "        if restored is None:\n            return\n",
        "        if restored is None or not restored.numbers[0] < 0:\n            return\n",
        "tests/coordination/test_overrides.py::TestLoss::test_what_redis_has_lost_is_given_back",
    ),
    Mutation(
        "overrides 1",
        "an override under a number that no fleet reaches is applied",
        "_circuits/overrides.py",
        "        return record.number > self._highest\n",
        "        return False\n",
        "tests/issues/test_what_strangers_write.py"
        "::test_override_under_an_absurd_number_keeps_no_later_one_from_counting",
    ),
    Mutation(
        "overrides 1",
        "circuits of which a pattern has changed are not visited",
        "_core/patterns.py",
        "        if not self.patterns:\n",
        "        if True:\n",
        "tests/coordination/test_overrides.py::TestPatterns"
        "::test_each_change_reaches_the_circuits_that_it_concerns",
    ),
    Mutation(
        "overrides 2",
        "an override lasts longer if the clock was set back before it was heard of",
        "_core/overrides.py",
        "return min(record.until - shared, record.until - record.at)",
        "return record.until - shared",
        "tests/unit/test_overrides.py::TestEnds::test_never_later_than_told",
    ),
    Mutation(
        "overrides 2",
        "a snapshot prolongs an override",
        "_core/overrides.py",
        "told.ends_at = min(told.ends_at, ends_at(record))",
        "told.ends_at = ends_at(record)",
        "tests/unit/test_overrides.py::TestEnds::test_nor_does_it_prolong_one",
    ),
    Mutation(
        "overrides 2",
        "an override that has ended is forgotten before the store removes it",
        "_core/overrides.py",
        "self._told[record.circuit].has_ended = True",
        "del self._told[record.circuit]",
        "tests/unit/test_overrides.py::TestEnds::test_a_clock_that_is_set_back_brings_none_back",
    ),
    Mutation(
        "overrides 3",
        "an older copy of the data brings lifted overrides back",
        "_core/overrides.py",
        "if lost_after is None or record.number > self.number or self._knows(record)",
        "if lost_after is None or record.number > 0",
        "tests/coordination/test_overrides.py::TestLoss::test_an_older_copy_brings_none_back",
    ),
    Mutation(
        "overrides 4",
        "a call inside an uncounted one counts",
        "_circuits/permits.py",
        "        self.counted = _counts(owner(carrier))\n",
        "        self.counted = True\n",
        "tests/coordination/test_overrides.py::TestUncounted::test_no_deadline_of_the_upstream",
    ),
    Mutation(
        "overrides 4",
        "an uncounted call is counted",
        "_circuits/permits.py",
        "self._local.show(failed=outcome is Outcome.FAILURE, elapsed=self._time(now))",
        "super()._settle(outcome, label, retry_after)",
        "tests/coordination/test_overrides.py::TestTable::test_open_passes_uncounted",
    ),
    Mutation(
        "overrides 5",
        "an uncounted call shows no demand",
        "_circuits/local.py",
        "        self.would_block += 1\n        self._want(now)\n",
        "        self.would_block += 1\n",
        "tests/simulation/test_observe.py::test_the_shadow_moves_as_its_twin_does[from-0]",
    ),
    Mutation(
        "overrides 6",
        "a call inside of another one passes a circuit that is held open",
        "breaker.py",
        "return self._unless_forced(inside)",
        "return inside",
        "tests/coordination/test_overrides.py"
        "::test_calls_inside_of_one_under_way_are_rejected_as_well",
    ),
    Mutation(
        "overrides 6",
        "a circuit that is held open attempts to recover",
        "_core/circuit.py",
        "        if self._held:\n            return None\n        if self._trial",
        "        if self._trial",
        "tests/unit/test_circuit.py::TestHeldByAnOperator"
        "::test_counts_nothing_and_attempts_nothing",
    ),
    Mutation(
        "overrides 6",
        "a circuit that is released closes without an attempt",
        "_judging/evaluator.py",
        "            if not circuit.held or circuit.latest.state is not State.OPEN:\n",
        "            if False:\n",
        "tests/coordination/test_overrides.py::TestRecovery"
        "::test_held_open_without_checks_or_trials_and_then_recovers",
    ),
    Mutation(
        "overrides 7",
        "calls that passed are told as rejected",
        "_circuits/local.py",
        "        self._uncounted_since += 1\n",
        "",
        "tests/cli/test_observed.py::test_calls_would_have_been_rejected",
    ),
    Mutation(
        "overrides 7",
        "an attempt that nobody makes is written to the audit",
        "_coordination/shard_runner.py",
        "if not self._shard.table.may_be_tried(probe.circuit):",
        "if False:",
        "tests/coordination/test_overrides.py::TestProbe::test_nothing_else",
    ),
    Mutation(
        "overrides 7",
        "an override that replaces another one does not say so",
        "backends/memory.py",
        "return replace(told, replaced=current)",
        "return told",
        "tests/contract/test_overrides.py::TestOverride::test_names_the_one_that_it_replaces",
    ),
    Mutation(
        "notifications 1",
        "a new leader begins with new transitions",
        "_judging/publications.py",
        "self._notified = snapshot.position if lost else notified or START",
        "self._notified = snapshot.position",
        "tests/coordination/test_published.py"
        "::test_what_happened_while_nobody_was_notified_is_made_up_for",
    ),
    Mutation(
        "notifications 2",
        "a leader does not record its calls",
        "_judging/publications.py",
        "            await self._record(0)\n",
        "            pass\n",
        "tests/coordination/test_published.py"
        "::test_a_call_that_hangs_delays_no_other_callback_and_is_repeated_if_its_leader_dies",
    ),
)


def caught(mutation: Mutation) -> bool:
    """Whether the test goes red with it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
                )
            else:
                shutil.copy(source, copy / name)
        for servers in ROOT.glob(".redis-oldest*"):
            (copy / servers.name).symlink_to(servers)
        file = copy / PACKAGE.name / mutation.file
        text = file.read_text("utf-8")
        if text.count(mutation.old) != 1:
            sys.exit(f"{mutation.file} must hold this once, to be changed: {mutation.old!r}")
        file.write_text(text.replace(mutation.old, mutation.new), "utf-8")
        ended = subprocess.run(
            [*PYTEST, mutation.test],
            cwd=copy,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    if ended.returncode not in {0, FAILED}:
        sys.exit(f"{mutation.test} does not run:\n{ended.stdout}\n{ended.stderr}")
    lines = ended.stdout.splitlines()
    red = [line for line in lines if line.startswith(("FAILED ", "ERROR tests"))]
    print(*(line.partition(" - ")[0] for line in red), sep="\n", flush=True)
    return ended.returncode == FAILED


def main() -> None:
    """Try those with the numbers on the command line, or all."""
    chosen = [int(number) for number in sys.argv[1:]] or range(1, len(MUTATIONS) + 1)
    survivors = 0
    for number in chosen:
        mutation = MUTATIONS[number - 1]
        print(f"{number}. invariant {mutation.invariant}: {mutation.what}", flush=True)
        if not caught(mutation):
            survivors += 1
            print("SURVIVED", mutation.test, flush=True)
    if survivors:
        sys.exit(f"{survivors} of {len(chosen)} mutations were not caught")
    print(f"all {len(chosen)} mutations were caught")


if __name__ == "__main__":
    main()
