//! Harmless: JSON whose strings have no character raw that a reader would not see, so that a terminal is
//! as safe as a file. To a program it is the same value as any other JSON of it.
//!
//! A trace has a line for each transfer, most of which is names of fields: those are ours and written as
//! they are. What the traced system chose is looked through once, and copied if every byte of it is
//! printed as itself; all else goes through `serde_json`.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

use serde::{
    Serialize,
    ser::{self, Error as _},
};
use serde_json::{
    Error,
    ser::{CompactFormatter, Formatter},
};

use super::sanitize::is_unseen;

/// Writes a value as JSON.
///
/// # Errors
/// What writing says.
pub(crate) fn write_json(mut out: impl io::Write, value: &impl Serialize) -> io::Result<()> {
    let mut text = Vec::new();
    append_json(&mut text, value)?;
    out.write_all(&text)
}

/// Writes a value as a line of JSON, which is put together in `room`.
///
/// # Errors
/// What writing says.
pub(super) fn write_line(
    mut out: impl io::Write,
    room: &mut Vec<u8>,
    value: &impl Serialize,
) -> io::Result<()> {
    room.clear();
    append_json(room, value)?;
    room.push(b'\n');
    out.write_all(room)
}

fn append_json(out: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    Ok(value.serialize(&mut Writer(out))?)
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn put(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// One of our own names.
    fn name(&mut self, name: &'static str) {
        self.0.push(b'"');
        self.put(name);
        self.0.push(b'"');
    }

    fn integer(&mut self, integer: impl itoa::Integer) -> Result<(), Error> {
        self.put(itoa::Buffer::new().format(integer));
        Ok(())
    }

    /// What comes seldom.
    fn other(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        let escaping = Escaping(CompactFormatter);
        value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut *self.0,
            escaping,
        ))
    }

    fn variant(&mut self, variant: &'static str) {
        self.0.push(b'{');
        self.name(variant);
        self.0.push(b':');
    }
}

/// Whether every byte of it is printed as itself, in quotes.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| PLAIN[usize::from(*byte)])
}

/// Of each byte, whether it is printed as itself, in quotes.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    plain
};

/// The parts of a list or an object under way, and how it ends.
struct Parts<'a, 'b> {
    writer: &'a mut Writer<'b>,
    any: bool,
    begin: u8,
    end: &'static str,
}

impl<'a, 'b> Parts<'a, 'b> {
    fn begin(writer: &'a mut Writer<'b>, begin: u8, end: &'static str) -> Self {
        Self {
            writer,
            any: false,
            begin,
            end,
        }
    }

    fn next(&mut self) {
        let before = if self.any { b',' } else { self.begin };
        self.any = true;
        self.writer.0.push(before);
    }

    fn part(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.next();
        value.serialize(&mut *self.writer)
    }

    fn field(
        &mut self,
        name: &'static str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        let out = &mut self.writer.0;
        let before: &[u8; 2] = if self.any { b",\"" } else { b"{\"" };
        self.any = true;
        out.extend_from_slice(before);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        value.serialize(&mut *self.writer)
    }

    fn finish(self) -> Result<(), Error> {
        if !self.any {
            self.writer.0.push(self.begin);
        }
        self.writer.put(self.end);
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),+) => {$(
        fn $method(self, value: $type) -> Result<(), Error> {
            self.integer(value)
        }
    )+};
}

impl<'a, 'b> ser::Serializer for &'a mut Writer<'b> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'a, 'b>;
    type SerializeTuple = Parts<'a, 'b>;
    type SerializeTupleStruct = Parts<'a, 'b>;
    type SerializeTupleVariant = Parts<'a, 'b>;
    type SerializeMap = Parts<'a, 'b>;
    type SerializeStruct = Parts<'a, 'b>;
    type SerializeStructVariant = Parts<'a, 'b>;

    integers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    );

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.put(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.other(&value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.other(&value)
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        if !is_plain(text.as_bytes()) {
            return self.other(text);
        }
        self.0.push(b'"');
        self.put(text);
        self.0.push(b'"');
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.0.push(b'"');
        let begin = self.0.len();
        write!(self.0, "{value}").map_err(Error::io)?;
        if is_plain(&self.0[begin..]) {
            self.0.push(b'"');
            return Ok(());
        }
        let text = self.0.split_off(begin);
        self.0.truncate(begin - 1);
        self.other(String::from_utf8_lossy(&text).as_ref())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.other(bytes)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.put("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.name(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.put("}");
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a, 'b>, Error> {
        Ok(Parts::begin(self, b'[', "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a, 'b>, Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a, 'b>, Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a, 'b>, Error> {
        self.variant(variant);
        Ok(Parts::begin(self, b'[', "]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a, 'b>, Error> {
        Ok(Parts::begin(self, b'{', "}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a, 'b>, Error> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a, 'b>, Error> {
        self.variant(variant);
        Ok(Parts::begin(self, b'{', "}}"))
    }
}

/// What lists and objects have in common.
macro_rules! parts {
    ($($of:ident { $method:ident($($name:ident)?) })+) => {$(
        impl ser::$of for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($name: &'static str,)?
                value: &T,
            ) -> Result<(), Error> {
                parts!(@ self value $($name)?)
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        }
    )+};
    (@ $self:ident $value:ident) => { $self.part($value) };
    (@ $self:ident $value:ident $name:ident) => { $self.field($name, $value) };
}

parts! {
    SerializeSeq { serialize_element() }
    SerializeTuple { serialize_element() }
    SerializeTupleStruct { serialize_field() }
    SerializeTupleVariant { serialize_field() }
    SerializeStruct { serialize_field(name) }
    SerializeStructVariant { serialize_field(name) }
}

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.next();
        let begin = self.writer.0.len();
        key.serialize(&mut *self.writer)?;
        match self.writer.0.get(begin) {
            Some(b'"') => Ok(()),
            _ => Err(Error::custom("a key is no string")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.writer.0.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

/// JSON in ASCII wherever a character would not be seen.
struct Escaping(CompactFormatter);

impl Formatter for Escaping {
    fn write_string_fragment<W>(&mut self, out: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        // The mark of `lossless` is to be read.
        let escaped = |char: char| char != char::REPLACEMENT_CHARACTER && is_unseen(char);
        while let Some(at) = rest.find(escaped) {
            self.0.write_string_fragment(out, &rest[..at])?;
            let mut chars = rest[at..].chars();
            if let Some(char) = chars.next() {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        self.0.write_string_fragment(out, rest)
    }
}
