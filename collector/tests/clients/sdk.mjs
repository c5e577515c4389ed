// A service with the stock OpenTelemetry SDK for Node: 20 spans, 3 data points, 7 log records.
// Endpoint and protocol come from the OTEL_EXPORTER_OTLP_* variables.
import { metrics, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { logs, SeverityNumber } from '@opentelemetry/api-logs';
import { NodeSDK } from '@opentelemetry/sdk-node';

const sdk = new NodeSDK();
sdk.start();
const tracer = trace.getTracer('clients');
for (let n = 0; n < 20; n++) {
  const span = tracer.startSpan('GET /carts', { kind: SpanKind.SERVER });
  if (n < 5) span.setStatus({ code: SpanStatusCode.ERROR, message: 'bad' });
  span.end();
}
const counter = metrics.getMeter('clients').createCounter('orders');
for (const shop of ['north', 'south', 'west']) counter.add(4, { shop });
const logger = logs.getLogger('clients');
for (let n = 0; n < 7; n++) {
  logger.emit({ severityNumber: SeverityNumber.INFO, body: `order ${n}`, attributes: { n } });
}
await sdk.shutdown();
