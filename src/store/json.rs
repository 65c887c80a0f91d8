//! The JSON of records: byte for byte what `serde_json` writes, in fewer steps.
//!
//! A record or two are written for each message. `serde_json` hands every quotation mark, colon and bracket to its writer
//! by itself and looks at texts byte by byte; here a name goes with what stands around it, and a text that needs no escape
//! is copied. Whatever is rare (numbers with a point, texts with escapes) is left to `serde_json`.

use std::fmt;

use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Why a value cannot be written.
#[derive(Debug)]
pub struct Unwritable(String);

impl fmt::Display for Unwritable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Unwritable {}

impl ser::Error for Unwritable {
    fn custom<T: fmt::Display>(why: T) -> Unwritable {
        Unwritable(why.to_string())
    }
}

/// A value as JSON.
pub fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Unwritable> {
    let mut writer = Writer { out: Vec::with_capacity(128) };
    value.serialize(&mut writer)?;
    Ok(writer.out)
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn put(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    /// What is simple, or rare.
    fn plain<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        serde_json::to_writer(&mut self.out, value).map_err(ser::Error::custom)
    }

    fn text(&mut self, text: &str) -> Result<(), Unwritable> {
        let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        // Without an end in between, so that many bytes are looked at together.
        if text.bytes().fold(false, |found, byte| found | is_special(byte)) {
            return self.plain(text);
        }
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.put(text.as_bytes());
        self.out.push(b'"');
        Ok(())
    }

    /// The name of a field or variant, which needs no escape, and the colon behind it.
    fn name(&mut self, name: &'static str) {
        self.out.reserve(name.len() + 4);
        self.out.push(b'"');
        self.put(name.as_bytes());
        self.put(b"\":");
    }

    fn items<'a>(&'a mut self, begin: &[u8], end: &'static [u8]) -> Items<'a> {
        self.put(begin);
        Items { writer: self, end, is_first: true }
    }

    /// `{"variant":` and what it holds.
    fn variant<'a>(&'a mut self, variant: &'static str, begin: &[u8], end: &'static [u8]) -> Items<'a> {
        self.put(b"{");
        self.name(variant);
        self.items(begin, end)
    }
}

/// What stands in brackets, divided by commas.
struct Items<'a> {
    writer: &'a mut Writer,
    end: &'static [u8],
    is_first: bool,
}

impl Items<'_> {
    fn next(&mut self) -> &mut Writer {
        if !std::mem::take(&mut self.is_first) {
            self.writer.out.push(b',');
        }
        self.writer
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self.next())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unwritable> {
        let writer = self.next();
        writer.name(name);
        value.serialize(writer)
    }

    fn finish(self) {
        self.writer.put(self.end);
    }
}

macro_rules! plain {
    ($($method:ident $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), Unwritable> {
            self.plain(&value)
        })*
    };
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Items<'a>;
    type SerializeStruct = Items<'a>;
    type SerializeStructVariant = Items<'a>;

    plain! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128,
        serialize_f32 f32, serialize_f64 f64, serialize_char char, serialize_bytes &[u8]
    }

    fn serialize_bool(self, value: bool) -> Result<(), Unwritable> {
        self.put(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Unwritable> {
        self.text(value)
    }

    fn serialize_none(self) -> Result<(), Unwritable> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unwritable> {
        self.put(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Unwritable> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Unwritable> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        self.put(b"{");
        self.name(variant);
        value.serialize(&mut *self)?;
        self.put(b"}");
        Ok(())
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Items<'a>, Unwritable> {
        Ok(self.items(b"[", b"]"))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Items<'a>, Unwritable> {
        Ok(self.items(b"[", b"]"))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Items<'a>, Unwritable> {
        Ok(self.items(b"[", b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Items<'a>, Unwritable> {
        Ok(self.variant(variant, b"[", b"]}"))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Items<'a>, Unwritable> {
        Ok(self.items(b"{", b"}"))
    }

    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Items<'a>, Unwritable> {
        Ok(self.items(b"{", b"}"))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Items<'a>, Unwritable> {
        Ok(self.variant(variant, b"{", b"}}"))
    }
}

macro_rules! in_brackets {
    ($($part:ident $method:ident),*) => {
        $(impl $part for Items<'_> {
            type Ok = ();
            type Error = Unwritable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
                self.item(value)
            }

            fn end(self) -> Result<(), Unwritable> {
                self.finish();
                Ok(())
            }
        })*
    };
}

macro_rules! in_braces {
    ($($part:ident),*) => {
        $(impl $part for Items<'_> {
            type Ok = ();
            type Error = Unwritable;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Unwritable> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Unwritable> {
                self.finish();
                Ok(())
            }
        })*
    };
}

in_brackets! {
    SerializeSeq serialize_element, SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field
}
in_braces! { SerializeStruct, SerializeStructVariant }

impl SerializeMap for Items<'_> {
    type Ok = ();
    type Error = Unwritable;

    /// Keys are texts in JSON; a number becomes one.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        let writer = self.next();
        let start = writer.out.len();
        key.serialize(&mut *writer)?;
        match writer.out.get(start) {
            Some(b'"') => Ok(()),
            Some(b'-' | b'0'..=b'9') => {
                writer.out.insert(start, b'"');
                writer.out.push(b'"');
                Ok(())
            }
            _ => Err(ser::Error::custom("a key is neither a text nor a number")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Unwritable> {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Unit,
        NewType(Box<Sample>),
        Tuple(u8, String),
        Struct { first_one: i64, other: Option<String> },
    }

    #[derive(Clone, Debug, Serialize)]
    struct Number(i32);

    #[derive(Clone, Debug, Serialize)]
    struct Nothing;

    #[derive(Clone, Debug, Serialize)]
    struct Sample {
        text: String,
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        type_: Option<String>,
        numbers: (u64, Number, f64, char),
        flag: bool,
        list: Vec<Option<Kind>>,
        by_text: BTreeMap<String, Vec<u8>>,
        by_number: BTreeMap<i16, Nothing>,
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z@./ -]{0,40}", any::<String>(), "[\"\\\\\n\u{7f}\u{1f}é😀]{0,8}"]
    }

    fn sample(kinds: BoxedStrategy<Vec<Option<Kind>>>) -> BoxedStrategy<Sample> {
        let numbers = (any::<u64>(), any::<i32>().prop_map(Number), any::<f64>(), any::<char>());
        let by_text = prop::collection::btree_map(text(), any::<Vec<u8>>(), 0..3);
        let by_number = prop::collection::btree_map(any::<i16>(), Just(Nothing), 0..3);
        (text(), prop::option::of(text()), numbers, any::<bool>(), kinds, by_text, by_number)
            .prop_map(|(text, type_, numbers, flag, list, by_text, by_number)| Sample {
                text,
                type_,
                numbers,
                flag,
                list,
                by_text,
                by_number,
            })
            .boxed()
    }

    fn kinds() -> BoxedStrategy<Vec<Option<Kind>>> {
        let kind = prop_oneof![
            Just(Kind::Unit),
            sample(Just(Vec::new()).boxed()).prop_map(|sample| Kind::NewType(Box::new(sample))),
            (any::<u8>(), text()).prop_map(|(number, text)| Kind::Tuple(number, text)),
            (any::<i64>(), prop::option::of(text()))
                .prop_map(|(first_one, other)| Kind::Struct { first_one, other }),
        ];
        prop::collection::vec(prop::option::of(kind), 0..4).boxed()
    }

    proptest! {
        #[test]
        fn it_is_what_serde_json_writes(sample in sample(kinds())) {
            let ours = write(&sample).expect("writes");
            prop_assert_eq!(ours, serde_json::to_vec(&sample).expect("writes"));
        }
    }

    #[test]
    fn a_key_that_is_no_text_is_refused() {
        assert!(write(&BTreeMap::from([(vec![1], 1)])).is_err());
    }
}
