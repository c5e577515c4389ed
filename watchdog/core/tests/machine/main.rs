//! The watch as a machine: every short sequence of events, and random long ones.

mod exhaustive;
mod property;
mod world;
