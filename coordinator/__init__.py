"""The queue: a pure scheduler, the store, the sessions with clients and workers, the service."""
