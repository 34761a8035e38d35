"""The same in a plain script: no reactor in sight.

python examples/blocking_pool.py
"""

from __future__ import annotations

from ampacity.blocking import Pool


def is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def main() -> None:
    with Pool() as pool:
        numbers = range(10**12, 10**12 + 60)
        for number, prime in zip(numbers, pool.map(is_prime, numbers), strict=True):
            if prime:
                print(number)
        print("one more:", pool.submit(is_prime, 2**31 - 1).result(timeout=30))


if __name__ == "__main__":
    main()
