"""What the benchmarks run."""


def noop(number: int) -> int:
    """Nothing: what is left is the cost of the way there and back."""
    return number
