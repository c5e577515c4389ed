//! The detector of the watch against chance: what it achieves is what the formulas say.

mod sweep;
