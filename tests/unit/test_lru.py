from ibex.lru import TimedLru


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_entry_used_longest_ago_goes_first() -> None:
    cache: TimedLru[str, int] = TimedLru(2, 60)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    assert len(cache) == 2


def test_an_entry_ends_after_its_time_however_often_it_was_used() -> None:
    clock = Clock()
    cache: TimedLru[str, int] = TimedLru(2, 60, clock)
    cache.put("a", 1)
    clock.now = 59.9
    assert cache.get("a") == 1
    clock.now = 60.0
    assert cache.get("a") is None
    assert len(cache) == 0


def test_values_are_dropped_by_what_they_are() -> None:
    cache: TimedLru[str, int] = TimedLru(8, 60)
    for number, name in enumerate("abcd"):
        cache.put(name, number)
    cache.drop(lambda number: number % 2 == 0)
    assert [cache.get(name) for name in "abcd"] == [None, 1, None, 3]
