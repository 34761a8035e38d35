"""How a store's tables came to be as they are; run by Alembic when a store is opened."""
