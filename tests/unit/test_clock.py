"""The shared clock as an instance learns it, and the seconds in which a keeper counts."""

from hypothesis import given
from hypothesis import strategies as st

from zenvark_web._runtime.clock import AHEAD, LONGEST_LEAD, SharedClock
from zenvark_web._runtime.host import Host

EXACT = 1e-3


class World:
    """A host and a store, and what passes between them."""

    def __init__(self, ahead: float = 1_000_000.0) -> None:
        self.monotonic = 500.0
        self.ahead = ahead
        self.clock = SharedClock(Host(monotonic=lambda: self.monotonic))
        self.ask()

    @property
    def store(self) -> float:
        return self.monotonic + self.ahead

    def ask(self, there: float = 0.0, back: float = 0.0) -> None:
        """An answer that takes so long each way."""
        asked = self.monotonic
        self.monotonic += there
        now = self.store
        self.monotonic += back
        self.clock.sync(now, asked)


class TestSharedClock:
    def test_it_is_the_stores(self) -> None:
        world = World()
        world.monotonic += 3600
        assert world.clock.now() == world.store

    @given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), max_size=10))
    def test_slow_answers_do_not_spoil_what_a_fast_one_told(
        self, answers: list[tuple[float, float]]
    ) -> None:
        world = World()
        for there, back in answers:
            world.ask(there, back)
            assert abs(world.clock.now() - world.store) < EXACT

    @given(st.floats(0, 1), st.floats(0, 1), st.floats(-1e6, 1e6))
    def test_it_follows_a_step_within_the_answer_that_tells(
        self, there: float, back: float, step: float
    ) -> None:
        world = World()
        world.ahead += step
        world.ask(there, back)
        assert abs(world.clock.now() - world.store) <= there + back + EXACT


class TestFrame:
    @given(st.sampled_from([60.0, 300.0, -60.0, -3600.0]))
    def test_it_does_not_jump_and_translates_by_the_clock_as_it_is(self, step: float) -> None:
        world = World()
        frame = world.clock.frame()
        before = frame.now()
        world.ahead += step
        world.ask()
        world.monotonic += 10
        assert frame.now() == before + 10
        assert frame.leaving(frame.now()) == world.store
        assert frame.entering(world.store + 5) == frame.now() + 5
        if step > 0:
            assert frame.arrived(world.store - 1) == (frame.now() - 1, True)

    def test_stamps_that_stand_still_arrive_now_and_tell_nothing(self) -> None:
        world = World()
        frame = world.clock.frame()
        stamp = world.store
        world.ahead -= 60
        world.ask()
        for _ in range(3):
            world.monotonic += 10
            assert frame.arrived(stamp) == (frame.now(), False)

    @given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.booleans(), st.floats(0, 30)), max_size=20))
    def test_arrivals_never_fall_and_are_never_ahead(
        self, steps: list[tuple[float, bool, float]]
    ) -> None:
        world = World()
        frame = world.clock.frame()
        newest = float("-inf")
        for step, knows, seconds in steps:
            world.monotonic += seconds
            world.ahead += step
            if knows:
                world.ask()
            arrived, told = frame.arrived(world.store)
            assert newest <= arrived <= frame.now()
            assert told or step or world.store > world.clock.now() + AHEAD
            newest = arrived

    @given(
        ahead=st.floats(0, 1e6),
        passed=st.floats(0, 600),
        later=st.floats(0, 600),
        back=st.floats(-1e4, 1e4),
    )
    def test_what_was_stored_after_the_counted_arrives_after_it(
        self, ahead: float, passed: float, later: float, back: float
    ) -> None:
        """However far the earlier keeper was ahead, and wherever the clock was set meanwhile."""
        world = World()
        stamp, counted = world.store, world.store + ahead
        world.monotonic += passed
        world.ahead -= back
        world.ask()
        following = max(stamp, world.store)
        world.monotonic += later
        frame = world.clock.frame()
        frame.begin_after(counted, stamp)
        arrived, _ = frame.arrived(following)
        assert counted - EXACT <= arrived <= frame.now()

    def test_time_since_the_counted_has_passed(self) -> None:
        world = World()
        counted, stamp = world.store + 3600, world.store
        world.monotonic += 20
        frame = world.clock.frame()
        frame.begin_after(counted, stamp)
        assert frame.now() == counted + 20
        assert frame.arrived(stamp + 5) == (counted + 5, True)

    def test_it_never_begins_before_the_shared_clock(self) -> None:
        world = World()
        frame = world.clock.frame()
        frame.begin_after(world.store - 3600, world.store)
        assert frame.now() == world.store

    def test_it_does_not_begin_after_what_no_clock_can_have_told(self) -> None:
        world = World()
        frame = world.clock.frame()
        frame.begin_after(world.store + 2 * LONGEST_LEAD, world.store)
        assert frame.now() == world.store
