//! What tests share: the vector runner and its world.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod bless;
pub mod books;
pub mod config;
pub mod course;
pub mod door;
pub mod foreign;
pub mod heard;
pub mod invariants;
pub mod msrp;
pub mod node;
pub mod pattern;
pub mod process;
pub mod recorded;
pub mod restore;
pub mod results;
pub mod script;
pub mod seeds;
pub mod settings;
pub mod vector;
pub mod written;
pub mod xml;
