"""The command line, and the service makers for twist."""
