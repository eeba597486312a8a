"""What all tests share: no test is timed, since machines are slow and busy in their own ways."""

import gc

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Thousands of collected tests live to the end: nothing is to be looked for among them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
