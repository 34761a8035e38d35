"""The program of the README."""

from ampacity import Pool
from twisted.internet.task import react


async def main(reactor: object) -> None:
    async with Pool() as pool:
        print(await pool.map(pow, [2, 3, 5], [64, 40, 27]))


react(main)
