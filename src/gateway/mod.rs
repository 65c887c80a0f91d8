//! One door, one drain, one alarm: the machine around the features.

pub mod domains;
pub mod io;
