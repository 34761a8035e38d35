"""What docs/howto/python.md shows, as one program; `ampacity up` comes first."""

from __future__ import annotations

from typing import Any

from ampacity import Pool
from twisted.internet.task import react

scene, scenes = "a sphere", ["a cube", "a cone", "a tree"] * 10
endless_scenes = iter(scenes)
pages = ["one word and one more", "two words"]


def render(scene: str, frame: int = 0) -> str:
    return f"{scene}, {frame}"


def count_words(page: str) -> dict[str, int]:
    words = page.split()
    return {word: words.count(word) for word in words}


def save(image: str) -> None:
    print("saved:", image)


def report(failure: Any) -> None:
    print(failure.getErrorMessage())


def made() -> None:
    from ampacity import Pool

    pool = Pool()  # children here, nothing to start
    pool = Pool.connect()  # the coordinator that is running here
    pool = Pool.connect("host:8786", token_file="cluster.token")
    assert pool.name is None


async def submitted(pool: Pool) -> None:
    job = pool.submit(render, scene, frame=7)  # all after the function is its own
    job = pool.options(timeout=60, name="frame 7").submit(render, scene, frame=7)

    job.result().addCallback(save).addErrback(report)  # a Deferred, a new one each time
    image = await job  # in a coroutine: Twisted's, or asyncio's
    assert image == "a sphere, 7"


async def mapped(pool: Pool) -> None:
    images = await pool.map(render, scenes)  # a list, in order
    async for image in pool.map(render, endless_scenes):  # streams, bounded in flight
        print(image)
    async for image in pool.map(render, scenes).as_completed():
        print(image)
    assert images[0] == "a cube, 0" and image.endswith(", 0")


async def with_a_key(pool: Pool) -> None:
    images = await pool.options(key="night of May 3").map(render, scenes)  # item 7: "…:7"
    assert len(images) == 30


async def careful(pool: Pool) -> None:
    careful = pool.options(results="data")
    counts = await careful.map(count_words, pages)  # dicts, lists, numbers, texts
    assert counts[0]["one"] == 2


async def later(pool: Pool) -> None:
    job, group = pool.job(17), pool.group("g3")  # submitted by whom- and whenever
    jobs = await pool.jobs(name="frame 7", state="succeeded")

    again = await job.retry()  # a new job, with the same work
    group = await group.retry_failed()  # anew: what failed is run again
    images = await group

    info = await job.info()
    print(info.state, info.attempts, info.failures, info.losses)
    for time, what in info.story:  # every attempt, and how it ended
        print(time, what)

    await job.forget()  # with its result, as far as it has ended
    await pool.forget(["g3", 17, job])  # fires with their number
    assert len(jobs) == 1 and await again == "a tree, 0" and len(images) == 30


async def ended(pool: Pool) -> None:
    await pool.ready()  # or: async with Pool() as pool
    await pool.close(grace=10)  # running jobs may end


def blocking() -> None:
    from ampacity.blocking import Pool

    with Pool() as pool:
        print(pool.submit(pow, 2, 100).result())


async def main(reactor: object) -> None:
    pool = Pool.connect()
    for part in (submitted, mapped, with_a_key, careful, later, ended):
        await part(pool)


if __name__ == "__main__":
    made()
    react(main)
