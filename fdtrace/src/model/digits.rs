//! Digits: numbers that a reader of JSON must not round.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// The greatest integer up to which a double holds each one, 2^53 - 1: what JSON has as a number is
/// never more.
pub const EXACT_MAX: u64 = (1 << 53) - 1;

/// A number of up to 64 bits. In JSON it is a string of decimal digits, for many readers of JSON have
/// doubles, which hold 53 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digits(pub u64);

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(itoa::Buffer::new().format(self.0))
    }
}

impl JsonSchema for Digits {
    fn schema_name() -> Cow<'static, str> {
        "Digits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of up to 64 bits in decimal digits: a string, because a reader \
                            with doubles would round the number.",
            "type": "string",
            "pattern": "^[0-9]+$",
        })
    }
}
