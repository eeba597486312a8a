"""What all tests share: no test is timed, since machines are slow and busy in their own ways."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
