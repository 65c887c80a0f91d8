//! What both cities mean: values without state, without I/O, and without a protocol's grammar.

pub mod address;
pub mod availability;
pub mod condition;
pub mod id;
pub mod index;
pub mod near;
pub mod note;
pub mod pace;
pub mod percent;
pub mod table;
pub mod tally;
pub mod text;
pub mod time;
pub mod timers;
