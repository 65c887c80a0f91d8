//! What survives a restart: records that features save and forget, and the places that keep them.

pub mod record;
