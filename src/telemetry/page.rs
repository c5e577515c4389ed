//! A metrics page, read: from OpenMetrics text to families of samples.
//!
//! The SDK has no door for values that are counted elsewhere: its instruments count themselves,
//! and its observable ones know no histograms. So the page is read and put into OTLP
//! ([`super::points`]), which leaves one count of everything.
//!
//! Invariant: a line that is not understood is left out, never guessed at. Pages are ours, and a
//! test reads each of them whole.

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
    /// It has no type, or one that no page of ours has.
    Other,
}

/// One metric with all its samples.
#[derive(Debug, PartialEq)]
pub struct Family<'a> {
    pub name: &'a str,
    pub help: &'a str,
    /// As Prometheus writes it: `seconds`.
    pub unit: &'a str,
    pub r#type: Type,
    pub samples: Vec<Sample<'a>>,
}

/// One line.
#[derive(Debug, PartialEq)]
pub struct Sample<'a> {
    /// What follows the family's name: `_total`, `_bucket`.
    pub suffix: &'a str,
    pub labels: Vec<(&'a str, String)>,
    /// As it is written: a number without a point is whole.
    pub value: &'a str,
}

/// The families of `page`, in their order.
pub fn read(page: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            note(&mut families, rest);
        } else if let Some(family) = families.last_mut()
            && let Some(sample) = sample(family.name, line)
        {
            family.samples.push(sample);
        }
    }
    families
}

/// `HELP name …`, `TYPE name …`, `UNIT name …`
fn note<'a>(families: &mut Vec<Family<'a>>, line: &'a str) {
    let mut words = line.splitn(3, ' ');
    let (Some(what), Some(name), Some(text)) = (words.next(), words.next(), words.next()) else {
        return;
    };
    if families.last().is_none_or(|family| family.name != name) {
        let (help, unit, samples) = ("", "", Vec::new());
        families.push(Family { name, help, unit, r#type: Type::Other, samples });
    }
    let Some(family) = families.last_mut() else { return };
    match what {
        "HELP" => family.help = text,
        "UNIT" => family.unit = text,
        "TYPE" => {
            family.r#type = match text {
                "counter" => Type::Counter,
                "gauge" => Type::Gauge,
                "histogram" => Type::Histogram,
                _ => Type::Other,
            }
        }
        _ => {}
    }
}

/// `name_suffix{label="value"} 5`, perhaps with an exemplar behind it.
fn sample<'a>(family: &str, line: &'a str) -> Option<Sample<'a>> {
    let rest = line.strip_prefix(family)?;
    let end = rest.find(['{', ' '])?;
    let (suffix, rest) = rest.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.strip_prefix(' ')?.split(' ').next()?;
    Some(Sample { suffix, labels, value })
}

type Labels<'a> = Vec<(&'a str, String)>;

/// `label="value",…}`, and what follows it.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, value) = rest.split_once("=\"")?;
        let (value, after) = quoted(value)?;
        labels.push((name, value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// A text up to its quotation mark, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family as Registered;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn what_the_registry_writes_is_read_whole() {
        let mut registry = Registry::with_prefix("hp");
        let odd = Registered::<Vec<(String, String)>, Counter>::default();
        let label = vec![("path".to_owned(), "a \"b\"\\c,d}\n=".to_owned())];
        odd.get_or_create(&label).inc_by(3);
        registry.register("odd", "Odd ones", odd);
        let took = Histogram::new([0.5, 1.0]);
        took.observe(0.7);
        registry.register_with_unit("took", "How long", Unit::Seconds, took);
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        let [odd, took] = &read(&page)[..] else { panic!("{page}") };
        assert_eq!((odd.name, odd.help, odd.r#type), ("hp_odd", "Odd ones.", Type::Counter));
        let labels = vec![("path", "a \"b\"\\c,d}\n=".to_owned())];
        assert_eq!(odd.samples, [Sample { suffix: "_total", labels, value: "3" }]);
        assert_eq!((took.name, took.unit), ("hp_took_seconds", "seconds"));
        assert_eq!(took.r#type, Type::Histogram);
        let lines: Vec<_> = took.samples.iter().map(|s| (s.suffix, s.value)).collect();
        let expected = [
            ("_sum", "0.7"),
            ("_count", "1"),
            ("_bucket", "0"),
            ("_bucket", "1"),
            ("_bucket", "1"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_broken_line_is_left_out() {
        let page = "# TYPE a counter\na_total{x=\"1} 5\na_total\na_total 7\n# EOF\n";
        let [a] = &read(page)[..] else { panic!() };
        let lines: Vec<_> = a.samples.iter().map(|sample| sample.value).collect();
        assert_eq!(lines, ["7"]);
    }
}
