"""The program of the README."""

import math

from ampacity import Pool
from twisted.internet.task import react


async def main(reactor: object) -> None:
    async with Pool() as pool:
        print(await pool.submit(math.factorial, 20))
        print(await pool.map(math.isqrt, [10**10, 10**20, 10**30]))


react(main)
