"""How programs use ampacity: pools, jobs and groups, as Deferreds or blocking."""
