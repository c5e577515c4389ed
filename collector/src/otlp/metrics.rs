//! `opentelemetry.proto.metrics.v1` and its collector request.

use super::attributes::{KEY_VALUE, RESOURCE, SCOPE};
use super::{Field, Kind, Message, many, one};

pub(crate) static REQUEST: Message = Message {
    name: "ExportMetricsServiceRequest",
    fields: &[many("resourceMetrics", 1, Kind::Message(&RESOURCE_METRICS))],
};

static RESOURCE_METRICS: Message = Message {
    name: "ResourceMetrics",
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeMetrics", 2, Kind::Message(&SCOPE_METRICS)),
        one("schemaUrl", 3, Kind::Text),
    ],
};

static SCOPE_METRICS: Message = Message {
    name: "ScopeMetrics",
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("metrics", 2, Kind::Message(&METRIC)),
        one("schemaUrl", 3, Kind::Text),
    ],
};

pub(crate) static METRIC: Message = Message {
    name: "Metric",
    fields: &[
        one("name", 1, Kind::Text),
        one("description", 2, Kind::Text),
        one("unit", 3, Kind::Text),
        one("gauge", 5, Kind::Message(&GAUGE)),
        one("sum", 7, Kind::Message(&SUM)),
        one("histogram", 9, Kind::Message(&HISTOGRAM)),
        one("exponentialHistogram", 10, Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        one("summary", 11, Kind::Message(&SUMMARY)),
        many("metadata", 12, Kind::Message(&KEY_VALUE)),
    ],
};

static GAUGE: Message =
    Message { name: "Gauge", fields: &[many("dataPoints", 1, Kind::Message(&NUMBER_POINT))] };

const TEMPORALITY: Field = one("aggregationTemporality", 2, Kind::Enum);

static SUM: Message = Message {
    name: "Sum",
    fields: &[
        many("dataPoints", 1, Kind::Message(&NUMBER_POINT)),
        TEMPORALITY,
        one("isMonotonic", 3, Kind::Bool),
    ],
};

static HISTOGRAM: Message = Message {
    name: "Histogram",
    fields: &[many("dataPoints", 1, Kind::Message(&HISTOGRAM_POINT)), TEMPORALITY],
};

static EXPONENTIAL_HISTOGRAM: Message = Message {
    name: "ExponentialHistogram",
    fields: &[many("dataPoints", 1, Kind::Message(&EXPONENTIAL_POINT)), TEMPORALITY],
};

static SUMMARY: Message =
    Message { name: "Summary", fields: &[many("dataPoints", 1, Kind::Message(&SUMMARY_POINT))] };

const START: Field = one("startTimeUnixNano", 2, Kind::Fixed64);
const TIME: Field = one("timeUnixNano", 3, Kind::Fixed64);

pub(crate) static NUMBER_POINT: Message = Message {
    name: "NumberDataPoint",
    fields: &[
        START,
        TIME,
        one("asDouble", 4, Kind::Double),
        many("exemplars", 5, Kind::Message(&EXEMPLAR)),
        one("asInt", 6, Kind::Sfixed64),
        many("attributes", 7, Kind::Message(&KEY_VALUE)),
        one("flags", 8, Kind::Uint32),
    ],
};

pub(crate) static HISTOGRAM_POINT: Message = Message {
    name: "HistogramDataPoint",
    fields: &[
        START,
        TIME,
        one("count", 4, Kind::Fixed64),
        one("sum", 5, Kind::Double),
        many("bucketCounts", 6, Kind::Fixed64),
        many("explicitBounds", 7, Kind::Double),
        many("exemplars", 8, Kind::Message(&EXEMPLAR)),
        many("attributes", 9, Kind::Message(&KEY_VALUE)),
        one("flags", 10, Kind::Uint32),
        one("min", 11, Kind::Double),
        one("max", 12, Kind::Double),
    ],
};

pub(crate) static EXPONENTIAL_POINT: Message = Message {
    name: "ExponentialHistogramDataPoint",
    fields: &[
        many("attributes", 1, Kind::Message(&KEY_VALUE)),
        START,
        TIME,
        one("count", 4, Kind::Fixed64),
        one("sum", 5, Kind::Double),
        one("scale", 6, Kind::Sint32),
        one("zeroCount", 7, Kind::Fixed64),
        one("positive", 8, Kind::Message(&BUCKETS)),
        one("negative", 9, Kind::Message(&BUCKETS)),
        one("flags", 10, Kind::Uint32),
        many("exemplars", 11, Kind::Message(&EXEMPLAR)),
        one("min", 12, Kind::Double),
        one("max", 13, Kind::Double),
        one("zeroThreshold", 14, Kind::Double),
    ],
};

static BUCKETS: Message = Message {
    name: "Buckets",
    fields: &[one("offset", 1, Kind::Sint32), many("bucketCounts", 2, Kind::Uint64)],
};

pub(crate) static SUMMARY_POINT: Message = Message {
    name: "SummaryDataPoint",
    fields: &[
        START,
        TIME,
        one("count", 4, Kind::Fixed64),
        one("sum", 5, Kind::Double),
        many("quantileValues", 6, Kind::Message(&QUANTILE)),
        many("attributes", 7, Kind::Message(&KEY_VALUE)),
        one("flags", 8, Kind::Uint32),
    ],
};

pub(crate) static QUANTILE: Message = Message {
    name: "ValueAtQuantile",
    fields: &[one("quantile", 1, Kind::Double), one("value", 2, Kind::Double)],
};

static EXEMPLAR: Message = Message {
    name: "Exemplar",
    fields: &[
        one("timeUnixNano", 2, Kind::Fixed64),
        one("asDouble", 3, Kind::Double),
        one("spanId", 4, Kind::SpanId),
        one("traceId", 5, Kind::TraceId),
        one("asInt", 6, Kind::Sfixed64),
        many("filteredAttributes", 7, Kind::Message(&KEY_VALUE)),
    ],
};
