"""A kit for the tests of applications."""
