//! Product knowledge: one file per product, each number with its source.
