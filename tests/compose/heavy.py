"""Jobs that keep a processor busy; mounted into the containers with the rest of the checkout."""


def count_primes(below: int) -> int:
    """By trial division, which takes its time."""
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, below))
