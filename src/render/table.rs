//! A table of text: columns as wide as their widest cell, the last one free.
//!
//! Invariant: colour is never the only carrier; a cell reads the same without it.

use super::words::Tone;
use super::{clean, colour};

/// Rows of cells below a head.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    #[must_use]
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of cells, each with its tone.
    pub fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells.into_iter().map(|(text, tone)| (clean(&text), tone)).collect());
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.write(colour())
    }

    fn write(&self, colour: bool) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|(text, _)| text.chars().count()).max();
            widest.unwrap_or(0).max(self.head[column].chars().count())
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = (&str, Tone)>| {
            let padded = cells.zip(&widths).map(|((text, tone), &width)| {
                let padding = width.saturating_sub(text.chars().count());
                format!("{}{}", tone.paint(text, colour), " ".repeat(padding))
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head = line(&mut self.head.iter().map(|&text| (text, Tone::Plain)));
        let rows = self
            .rows
            .iter()
            .map(|row| line(&mut row.iter().map(|(text, tone)| (text.as_str(), *tone))));
        std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_colour_adds_nothing_to_the_text() {
        let mut table = Table::new(&["SERVICE", "VERDICT"]);
        table.row(vec![("a".into(), Tone::Plain), ("✔ live".into(), Tone::Good)]);
        table.row(vec![("long-name".into(), Tone::Plain), ("? unknown".into(), Tone::Odd)]);
        let plain = table.write(false);
        assert_eq!(plain, "SERVICE    VERDICT\na          ✔ live\nlong-name  ? unknown");
        let painted = table.write(true);
        assert!(painted.contains("\u{1b}[32m✔ live\u{1b}[0m"), "{painted:?}");
    }
}
