//! Patterns of attribute values: `*` is any text, `?` one character, `\` takes the next as it is.
//!
//! Invariant: matching takes at most the product of both lengths; no pattern makes it worse.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Exactly(u8),
    /// One character, of one byte or more.
    One,
    Any,
}

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            parts.push(match byte {
                b'*' => Part::Any,
                b'?' => Part::One,
                b'\\' => Part::Exactly(bytes.next().unwrap_or(b'\\')),
                byte => Part::Exactly(byte),
            });
        }
        Self(parts)
    }

    /// Whether all of `text`, which is UTF-8, is as the pattern says.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let (mut part, mut at) = (0, 0);
        // Where the last `*` stands, and how far the text that it took goes: the only way back.
        let mut star: Option<(usize, usize)> = None;
        loop {
            match self.0.get(part) {
                Some(Part::Any) => {
                    star = Some((part, at));
                    part += 1;
                    continue;
                }
                Some(Part::Exactly(byte)) if text.get(at) == Some(byte) => {
                    (part, at) = (part + 1, at + 1);
                    continue;
                }
                Some(Part::One) if at < text.len() => {
                    part += 1;
                    at += 1;
                    // The rest of the character: continuation bytes begin with the bits 10.
                    while text.get(at).is_some_and(|byte| byte & 0xC0 == 0x80) {
                        at += 1;
                    }
                    continue;
                }
                None if at == text.len() => return true,
                Some(Part::Exactly(_) | Part::One) | None => {}
            }
            let Some((at_star, taken)) = star.filter(|(_, taken)| *taken < text.len()) else {
                return false;
            };
            star = Some((at_star, taken + 1));
            (part, at) = (at_star + 1, taken + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn patterns_match_the_whole_text() {
        for (pattern, text, does) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("*b*b*", "abcb", true),
            ("*.internal", "db.internal", true),
            ("?", "é", true),
            ("?", "", false),
            ("a?c", "aéc", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("*aab", "aaaab", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text.as_bytes()), does, "{pattern} {text}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = "*a".repeat(50) + "b";
        assert!(!Glob::new(&pattern).matches("a".repeat(5_000).as_bytes()));
    }
}
