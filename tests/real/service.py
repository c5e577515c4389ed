"""A user's service: stock OpenTelemetry SDK, stock OTLP exporter, and a beat thread of ten lines.

It answers HTTP on a free port (printed on standard output), makes one server span and one
counter increment a request, and beats to $HOLDPOINT_BEATS/v1/beats/checkout.
"""

import http.server
import json
import os
import threading
import time
import urllib.request

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

REVISION = os.environ.get("REVISION", "v1")
RESOURCE = Resource.create(
    {"service.name": "checkout", "service.instance.id": "checkout-1", "service.version": REVISION}
)

tracing = TracerProvider(resource=RESOURCE)
tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(tracing)
metering = MeterProvider(
    resource=RESOURCE, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())]
)
metrics.set_meter_provider(metering)
tracer = trace.get_tracer("checkout")
orders = metrics.get_meter("checkout").create_counter("orders")


class Shop(http.server.ThreadingHTTPServer):
    turns, requests, errors = 0, 0, 0

    def service_actions(self):  # called at every turn of the serving loop, idle or not
        self.turns += 1


class Checkout(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with tracer.start_as_current_span("GET /checkout", kind=trace.SpanKind.SERVER):
            orders.add(1)
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"ok\n")
        self.server.requests += 1

    def log_message(self, *_):
        pass


def beat(shop, url):
    boot, seq = f"{int(time.time() * 1000)}-{os.getpid()}", 0
    while True:
        seq += 1
        body = dict(instance="checkout-1", boot=boot, seq=seq, token=shop.turns,
                    requests=shop.requests, errors=shop.errors, revision=REVISION)
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        try:
            urllib.request.urlopen(request, timeout=1).close()
        except OSError:
            pass  # no beat is what no beat means
        time.sleep(1)


shop = Shop(("127.0.0.1", 0), Checkout)
url = os.environ["HOLDPOINT_BEATS"] + "/v1/beats/checkout"
threading.Thread(target=beat, args=(shop, url), daemon=True).start()
print(shop.server_address[1], flush=True)
shop.serve_forever(poll_interval=0.2)
