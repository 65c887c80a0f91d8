//! What tests share: the vector runner and its world.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod bless;
pub mod config;
pub mod foreign;
pub mod heard;
pub mod msrp;
pub mod node;
pub mod pattern;
pub mod recorded;
pub mod script;
pub mod vector;
pub mod xml;
