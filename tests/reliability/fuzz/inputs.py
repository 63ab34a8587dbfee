"""What a target makes of a seed and a number."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass
class Input:
    """One mutated input.

    Attributes:
        mutation: what was done to the valid example, in a few words.
        commands: the command lines that meet the input, one after the other, in the input's folder.
        names: a refusal has to contain one of these words, such as the name of the file.
        unstoppable: beginnings of command lines that must end well: damage of one record stops no `status`.
        draws: whether figures are drawn, which takes seconds.
        further: more to hold the input to. It may raise UserError.
    """

    mutation: str
    commands: list[list[str]]
    names: list[str]
    unstoppable: tuple[str, ...] = ()
    draws: bool = False
    further: list[Callable[[], None]] = field(default_factory=list)


class Target(Protocol):
    """A kind of input: a module with these two functions."""

    def make_examples(self, folder: Path) -> None:
        """Write the valid examples into an empty folder."""

    def make_input(self, chance: random.Random, examples: Path, folder: Path) -> Input:
        """Write a mutated example into an empty folder. The same state of `chance` gives the same input."""
