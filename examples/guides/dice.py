"""Throw dice and tell the mean, which the how-to pages run."""

import random


def mean(throws: int, sides: int = 6, seed: int = 0) -> float:
    """The mean of so many throws of a die."""
    dice = random.Random(seed)
    return sum(dice.randint(1, sides) for _ in range(throws)) / throws
