//! The names that identify who is watched: service, instance, revision and boot.
//!
//! They arrive from outside (beats, OTLP resources, agents) and are shown on pages and in
//! terminals, so the constructors are the one place where hostile text is refused.
//!
//! A name is shared and not copied: one service's name stands in its beats, its verdicts, the page
//! that shows them and the attestation, ten thousand times over.
//!
//! Invariant: a name is 1 to 255 bytes of UTF-8 without control characters.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name that is accepted, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// The text has no characters.
    Empty,
    /// The text is longer than [`NAME_BYTES_MAX`] bytes.
    TooLong,
    /// The text has a control, bidirectional-override or zero-width character.
    Unprintable,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name is empty",
            Self::TooLong => "the name is longer than 255 bytes",
            Self::Unprintable => "the name has a control or invisible character",
        })
    }
}

impl std::error::Error for NameError {}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !plain && text.chars().any(is_unprintable) {
        return Err(NameError::Unprintable);
    }
    Ok(())
}

/// Whether `c` could hide or reorder text on an operator's screen.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}')
        || matches!(c, '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
}

/// Reads a text that is a name, in one allocation.
struct Text;

impl Visitor<'_> for Text {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Arc<str>, E> {
        check(text).map_err(E::custom)?;
        Ok(text.into())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes it a name.
            ///
            /// # Errors
            /// [`NameError`] if the text is empty, too long or not printable.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether `other` shares the text of this name: then they are equal, and no text was
            /// read to find that out. Equal names that do not share theirs are told by `==`.
            #[must_use]
            pub fn shares(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text: Arc<str> = deserializer.deserialize_str(Text)?;
                Ok(Self(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// OpenTelemetry's `service.name`, or `service.namespace/service.name` where there is one.
    Service
}
name! {
    /// OpenTelemetry's `service.instance.id`.
    Instance
}
name! {
    /// OpenTelemetry's `service.version`: what is running.
    Revision
}
name! {
    /// One start of one instance. It begins with the start time in milliseconds, so that a newer
    /// boot can be told from an older one.
    Boot
}
name! {
    /// `deployment.environment.name`, as the configuration says it; never what an agent says.
    Environment
}

impl Boot {
    /// The start time the boot claims, in milliseconds; `None` if it does not begin with one.
    #[must_use]
    pub fn started_ms(&self) -> Option<u64> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        self.0[..end].parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_is_accepted_and_one_byte_more_is_not() {
        assert!(Service::new("a".repeat(NAME_BYTES_MAX)).is_ok());
        assert_eq!(Service::new("a".repeat(NAME_BYTES_MAX + 1)), Err(NameError::TooLong));
        assert_eq!(Service::new(""), Err(NameError::Empty));
    }

    #[test]
    fn text_that_could_fool_an_operator_is_refused() {
        for text in ["a\u{1b}[2J", "a\u{202E}b", "a\nb", "a\u{200B}", "\u{E0041}"] {
            assert_eq!(Service::new(text), Err(NameError::Unprintable), "{text:?}");
        }
    }

    #[test]
    fn a_boot_tells_its_start_time() {
        let boot = |text: &str| Boot::new(text).expect("a valid name").started_ms();
        assert_eq!(boot("1700000000000-7f"), Some(1_700_000_000_000));
        assert_eq!(boot("1700"), Some(1700));
        assert_eq!(boot("x1"), None);
    }
}
