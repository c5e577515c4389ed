//! Tests of the gate machine as a whole, through its public interface alone.
//!
//! `world` drives a gate and checks the invariants after every step; the other modules choose
//! what happens: told stories, all sequences of a small alphabet, and random long ones.

mod exhaustive;
mod invariants;
mod property;
mod stories;
mod transitions;
mod world;
