//! Who sent it: the attributes of a resource that identify a service.
//!
//! Invariant: an attribute that is missing, empty or not a text is `None`, never an empty name.

use watchdog_core::probe::PROBE_SERVICE;

use super::{DEPTH_MAX, plain, values};
use crate::otlp::attributes::RESOURCE;
use crate::wire::{LENGTH, Malformed, Reader};

const ATTRIBUTE: u8 = 1 << 3 | LENGTH;

/// `service.*` of a resource, borrowed from the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Identity<'a> {
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) instance: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// Whether this is not a service but the watchdog's probe.
    pub(crate) fn is_probe(&self) -> bool {
        self.name == Some(PROBE_SERVICE) && self.namespace.is_none()
    }

    /// Reads a `Resource`. Several in one `ResourceSpans` merge, as in every protobuf decoder.
    pub(super) fn read(&mut self, mut resource: Reader<'a>) -> Result<(), Malformed> {
        while !resource.is_empty() {
            if resource.peek() == Some(ATTRIBUTE)
                && let Some(attribute) = resource.short()
            {
                match plain::text_pair(&attribute) {
                    Some((key, text)) => self.set(key, || std::str::from_utf8(text).ok()),
                    None => self.attribute(attribute.remaining())?,
                }
                continue;
            }
            match resource.next()? {
                Some((1, value)) => self.attribute(value.bytes()?)?,
                Some((number, value)) => values::field(&RESOURCE, number, value, DEPTH_MAX)?,
                None => {}
            }
        }
        Ok(())
    }

    fn attribute(&mut self, key_value: &'a [u8]) -> Result<(), Malformed> {
        let (key, text) = values::key_value(key_value, DEPTH_MAX)?;
        self.set(key.as_bytes(), || text);
        Ok(())
    }

    #[inline]
    fn set(&mut self, key: &[u8], text: impl FnOnce() -> Option<&'a str>) {
        let slot = match key {
            b"service.name" => &mut self.name,
            b"service.namespace" => &mut self.namespace,
            b"service.instance.id" => &mut self.instance,
            b"service.version" => &mut self.version,
            _ => return,
        };
        *slot = text().filter(|text| !text.is_empty());
    }
}
