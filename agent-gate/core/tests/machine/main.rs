//! Tests of the gate machine as a whole, through its public interface alone.
//!
//! `world` drives a gate and checks the invariants after every step; the other modules choose
//! what happens: told stories, all sequences of a small alphabet, and random long ones.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test asks for one variant")]

mod exhaustive;
mod invariants;
mod property;
mod sight;
mod stories;
mod transitions;
mod world;
