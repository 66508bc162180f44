"""The base of the small immutable classes that this package hands out."""

try:
    from nontax._core import record_maker
except ImportError:  # a room that needs no core

    def record_maker(type: "type[T]", slots: "tuple[object, ...]", /) -> "Callable[..., T]":
        """Return a function that makes an instance of `type` with these slots filled."""
        descriptors: tuple[Any, ...] = slots

        def make(*values: object) -> "T":
            made = type.__new__(type)
            for slot, value in zip(descriptors, values, strict=True):
                slot.__set__(made, value)
            return made

        return make


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, TypeVar

    T = TypeVar("T")


class Record:
    """A few named values. Immutable; can be compared, hashed, pickled and copied.

    A subclass names its values, in order, in __slots__; a subclass of that has them, too.
    """

    __slots__: tuple[str, ...] = ()
    _names: tuple[str, ...] = ()
    # Makes one of its values, past __init__(): a bulk run makes two records for each bill.
    _make: "ClassVar[Callable[..., Any]]"

    def __init_subclass__(cls) -> None:
        own = vars(cls).get("__slots__", ())
        own = (own,) if isinstance(own, str) else own
        cls._names = (*cls._names, *(name for name in own if not name.startswith("__")))
        make: Any = record_maker(cls, tuple(getattr(cls, name) for name in cls._names))
        cls._make = make

    def __init__(self, *values: object) -> None:
        for name, value in zip(self._names, values, strict=True):
            object.__setattr__(self, name, value)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._names)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values()[0])

    def __repr__(self) -> str:
        # A traceback with local variables may show one that is not made yet.
        values = {name: getattr(self, name, None) for name in self._names}
        # Only this one is known to be a dict; of a caller's bill, any comparison may raise.
        if "extra" in values and values["extra"] == {}:
            del values["extra"]
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), *self._values())


def _rebuild(cls: type[Record], *values: object) -> Record:
    """Make a record again from what it was pickled as."""
    made: Record = cls._make(*values)
    return made
