"""Options of samplers that cannot change."""

from __future__ import annotations

from typing import Any, ClassVar


class FixedOptions:
    """Refuses another value of the options from which a sampler derives what its steps use.

    Attributes:
        fixed: the names of these options.
    """

    fixed: ClassVar[frozenset[str]] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.fixed and name in self.__dict__:
            raise AttributeError(
                f"{name}: expected the one that this {type(self).__name__} was made with; make "
                "another sampler for another one"
            )
        super().__setattr__(name, value)
