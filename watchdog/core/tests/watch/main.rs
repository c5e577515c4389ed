//! Stories about the watch as a whole, told to it millisecond by millisecond.

mod flow;
mod healthy;
mod idle;
mod kernel;
mod memory;
mod path;
mod rig;
mod slower;
mod slowness;
mod stories;
mod strained;
mod ten_hours;
