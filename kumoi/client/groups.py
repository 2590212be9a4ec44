"""From operations to methods: the same attribute answers a value, or a coroutine, as its client does."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from kumoi.client.drivers import AsyncDriver, SyncDriver
from kumoi.client.flows import Flow, Stream

D = TypeVar("D", bound=SyncDriver | AsyncDriver)
P = ParamSpec("P")
T = TypeVar("T")


class Group(Generic[D]):
    """The operations on one kind of resource."""

    def __init__(self, driver: D) -> None:
        self.driver = driver


class Operation(Generic[P, T]):
    """A method that answers one T."""

    def __init__(self, build: Callable[P, Flow[T]]) -> None:
        self.build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, group: None, owner: type) -> Self: ...
    @overload
    def __get__(self, group: Group[SyncDriver], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, group: Group[AsyncDriver], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        if group is None:
            return self
        driver = group.driver

        @wraps(self.build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return driver.run(self.build(*args, **kwargs))

        return method


class Streaming(Generic[P, T]):
    """A method that answers an iterator of T."""

    def __init__(self, build: Callable[P, Stream[T]]) -> None:
        self.build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, group: None, owner: type) -> Self: ...
    @overload
    def __get__(self, group: Group[SyncDriver], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, group: Group[AsyncDriver], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        if group is None:
            return self
        driver = group.driver

        @wraps(self.build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return driver.stream(self.build(*args, **kwargs))

        return method
