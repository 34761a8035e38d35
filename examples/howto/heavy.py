"""Work that takes its time: plain functions, which know nothing of Twisted."""

import difflib
from itertools import combinations


def factors(number: int) -> list[int]:
    """The prime factors of a number, by trial."""
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return [*found, number] if number > 1 else found


def near_duplicates(text: str, least: float = 0.8) -> list[list[str]]:
    """The pairs of lines that are nearly the same: each is compared with each other."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [
        [one, other]
        for one, other in combinations(lines, 2)
        if difflib.SequenceMatcher(None, one, other).ratio() >= least
    ]


def keywords(text: str, most: int = 3) -> list[str]:
    """The words that say most about a text: those that are long, and come often."""
    words = [word.strip(".,;:!?()").lower() for word in text.split()]
    weight = {word: words.count(word) * len(word) for word in set(words) if len(word) > 4}
    return sorted(weight, key=lambda word: (-weight[word], word))[:most]
