"""A Scrapy spider whose pages are looked through in other processes, under the asyncio reactor."""

import sys
from collections.abc import AsyncIterator
from typing import Any

import scrapy
from ampacity import JobError, Pool
from heavy import keywords
from scrapy import signals
from scrapy.crawler import Crawler, CrawlerProcess
from scrapy.http import Response


class KeywordSpider(scrapy.Spider):
    name = "keywords"

    def __init__(self, start: str) -> None:
        super().__init__()
        self.start_urls = [start]
        self.pool = Pool()  # touches no reactor before its first use

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> "KeywordSpider":
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.close_pool, signals.spider_closed)
        return spider

    async def close_pool(self) -> None:
        await self.pool.close()

    async def parse(self, response: Response) -> AsyncIterator[Any]:
        text = " ".join(response.css("h1::text, p::text").getall())
        try:
            found = await self.pool.options(timeout=60).submit(keywords, text)
        except JobError as error:
            self.logger.error("%s: %s", response.url, error)
            found = []
        yield {"page": response.css("title::text").get(), "keywords": found}
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link)


SETTINGS = {
    "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
    "CONCURRENT_REQUESTS": 8,  # pages under way, and so the jobs
    "FEEDS": {"stdout:": {"format": "jsonlines"}},
    "LOG_LEVEL": "WARNING",
    "TELNETCONSOLE_ENABLED": False,
}

if __name__ == "__main__":
    process = CrawlerProcess(SETTINGS)
    process.crawl(KeywordSpider, start=sys.argv[1])
    process.start()
