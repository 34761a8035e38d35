# One image for the coordinator, the workers and the client of docker-compose.yml.

FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/ampacity \
 && /opt/ampacity/bin/pip install --no-cache-dir --disable-pip-version-check . \
 && /opt/ampacity/bin/pip uninstall --yes --quiet pip \
 && find /opt/ampacity -name tests -prune -exec rm -rf {} +

FROM python:3.13-slim
COPY --from=build /opt/ampacity /opt/ampacity
RUN useradd --system --uid 8786 --home-dir /var/lib/ampacity --shell /usr/sbin/nologin ampacity \
 && install -d -m 0700 -o ampacity -g ampacity \
      /var/lib/ampacity /run/ampacity /run/ampacity/access /run/ampacity/worker /run/ampacity/client \
 && install -d -m 0755 /work
ENV PATH=/opt/ampacity/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    AMPACITY_ACCESS=/run/ampacity/access \
    AMPACITY_STATE=/var/lib/ampacity
USER ampacity
WORKDIR /work
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=3 \
    CMD ["ampacity", "workers"]
ENTRYPOINT ["ampacity"]
CMD ["coordinator", "--listen", "tcp:8786"]
