"""One module a version. What a release has shipped is never changed again."""
