"""A service with the stock OpenTelemetry SDK for Python: 20 spans, 3 data points, 7 log records.

The argument is the protocol, grpc or http; the endpoint comes from OTEL_EXPORTER_OTLP_ENDPOINT.
"""

import importlib
import logging
import sys

from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode


def exporter(module, name):
    package = f"opentelemetry.exporter.otlp.proto.{sys.argv[1]}.{module}"
    return getattr(importlib.import_module(package), name)()


spans = TracerProvider()
spans.add_span_processor(BatchSpanProcessor(exporter("trace_exporter", "OTLPSpanExporter")))
tracer = spans.get_tracer("clients")
for n in range(20):
    with tracer.start_as_current_span("GET /carts", kind=SpanKind.SERVER) as span:
        if n < 5:
            span.set_status(Status(StatusCode.ERROR, "bad"))

reader = PeriodicExportingMetricReader(exporter("metric_exporter", "OTLPMetricExporter"))
meters = MeterProvider(metric_readers=[reader])
counter = meters.get_meter("clients").create_counter("orders")
for shop in ("north", "south", "west"):
    counter.add(4, {"shop": shop})

logs = LoggerProvider()
logs.add_log_record_processor(BatchLogRecordProcessor(exporter("_log_exporter", "OTLPLogExporter")))
logger = logging.getLogger("clients")
logger.setLevel(logging.INFO)
logger.addHandler(LoggingHandler(logger_provider=logs))
for n in range(7):
    logger.info("order %d", n)

for provider in (spans, meters, logs):
    provider.shutdown()
