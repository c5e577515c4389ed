//! Who sent it: the attributes of a resource that identify a service.
//!
//! Invariant: an attribute that is missing, empty or not a text is `None`, never an empty name.

use watchdog_core::probe::PROBE_SERVICE;

use super::{DEPTH_MAX, values};
use crate::otlp::attributes::RESOURCE;
use crate::wire::{Malformed, Reader, bytes};

const ATTRIBUTE: u32 = bytes(1);

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
    pub(super) fn read(&mut self, resource: &'a [u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(resource);
        while let Some(tag) = reader.tag()? {
            if tag == ATTRIBUTE {
                self.attribute(reader.bytes()?)?;
            } else {
                values::other(&RESOURCE, tag, &mut reader, DEPTH_MAX)?;
            }
        }
        Ok(())
    }

    fn attribute(&mut self, key_value: &'a [u8]) -> Result<(), Malformed> {
        let (key, text) = values::key_value(key_value, DEPTH_MAX)?;
        let slot = match key {
            b"service.name" => &mut self.name,
            b"service.namespace" => &mut self.namespace,
            b"service.instance.id" => &mut self.instance,
            b"service.version" => &mut self.version,
            _ => return Ok(()),
        };
        *slot = values::as_str(text)?.filter(|text| !text.is_empty());
        Ok(())
    }
}
