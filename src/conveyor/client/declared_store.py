"""The store of a `Conveyor`: the one that its code declares, or the one that overrides it."""

from __future__ import annotations

from ..core.clock import Clock
from ..errors import UsageError
from ..settings import (
    APPLICATION,
    DEFAULT,
    Settings,
    StoreChoice,
    choose_store,
    load_settings,
    without_password,
)
from ..store.open import open_store
from ..store.protocol import Store


class DeclaredStore:
    """What the code says about its store: a `url` with a `token`, a `store`, or nothing."""

    def __init__(
        self, url: str | None, token: str | None, store: Store | None, clock: Clock | None
    ) -> None:
        self.url = url
        self._token = _checked(token)
        self._store = store
        self._clock = clock
        self._diverted = False

    def divert(self, url: str, token: str | None) -> None:
        """Declare another store, which nothing overrides."""
        self.url, self._token, self._store, self._clock = url, _checked(token), None, None
        self._diverted = True

    def choose(self, settings: Settings) -> StoreChoice:
        """Return which store `open` opens under these settings, for a command.

        UsageError if one is configured that cannot override the declared one.
        """
        chosen = self._choose(settings)
        source = settings.sources["url"]
        if source != DEFAULT and chosen.source == APPLICATION and not self._diverted:
            raise UsageError(
                f"the application has its own store {without_password(chosen.url)}, and {source} "
                f"names {without_password(str(settings['url']))!r}, which cannot replace it; "
                "remove one of them"
            )
        return chosen

    def open(self) -> Store:
        """Open the store."""
        if self._store is not None:
            return self._store
        chosen = self._choose(load_settings())
        return open_store(chosen.url, self._clock, chosen.token)

    def _choose(self, settings: Settings) -> StoreChoice:
        if self._store is not None:
            return StoreChoice(self._store.url, APPLICATION)
        if self._diverted:
            return StoreChoice(self.url or "", APPLICATION, token=self._token)
        chosen = choose_store(settings, self.url)
        # A token belongs to the store that it was declared with.
        return chosen if chosen.own else chosen._replace(token=self._token)


def _checked(token: object) -> str | None:
    if not isinstance(token, str | None):
        raise UsageError(f"token must be a string or None, got {token!r:.40}")
    return token
