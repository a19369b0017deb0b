//! Blob: BTF made by hand, type by type.

use super::*;

pub(super) const INT: u32 = 1;
pub(super) const PTR: u32 = 2;
pub(super) const ARRAY: u32 = 3;
pub(super) const STRUCT: u32 = 4;
pub(super) const UNION: u32 = 5;
pub(super) const FWD: u32 = 7;
pub(super) const TYPEDEF: u32 = 8;
pub(super) const VOLATILE: u32 = 9;
pub(super) const CONST: u32 = 10;
pub(super) const FUNC: u32 = 12;
pub(super) const FUNC_PROTO: u32 = 13;
pub(super) const TYPE_TAG: u32 = 18;

/// Set where struct members carry the size of bit fields.
pub(super) const SIZED_BITS: u32 = 1 << 31;

/// A BTF in the making. Types refer to each other by the ids that adding them returns.
pub(super) struct Blob {
    types: Vec<u32>,
    strings: Vec<u8>,
    last_id: u32,
}

impl Blob {
    pub(super) fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            last_id: 0,
        }
    }

    pub(super) fn string(&mut self, string: &str) -> u32 {
        if string.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(string.bytes().chain([0]));
        offset
    }

    pub(super) fn add(&mut self, kind: u32, name: &str, size_or_type: u32, body: &[u32]) -> u32 {
        self.add_counted(kind, 0, name, size_or_type, body)
    }

    pub(super) fn add_counted(
        &mut self,
        kind: u32,
        vlen_and_flag: u32,
        name: &str,
        size_or_type: u32,
        body: &[u32],
    ) -> u32 {
        let name = self.string(name);
        self.types
            .extend([name, kind << 24 | vlen_and_flag, size_or_type]);
        self.types.extend(body);
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn int(&mut self, name: &str, size: u32) -> u32 {
        self.add(INT, name, size, &[size * 8])
    }

    /// Members are name, type and offset in bits.
    pub(super) fn composite(
        &mut self,
        kind: u32,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let mut body = Vec::new();
        for &(name, ty, bits) in members {
            body.extend([self.string(name), ty, bits]);
        }
        self.add_counted(kind, members.len() as u32, name, size, &body)
    }

    /// Parameters are name and type.
    pub(super) fn proto(&mut self, ret: u32, params: &[(&str, u32)]) -> u32 {
        let mut body = Vec::new();
        for &(name, ty) in params {
            body.extend([self.string(name), ty]);
        }
        self.add_counted(FUNC_PROTO, params.len() as u32, "", ret, &body)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let types_len = 4 * self.types.len() as u32;
        let mut bytes = Vec::from(0xEB9Fu16.to_ne_bytes());
        bytes.extend([1, 0]);
        for word in [24, 0, types_len, types_len, self.strings.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(self.types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(&self.strings);
        bytes
    }

    pub(super) fn types(&self) -> Types {
        Types::from_bytes(&self.bytes()).expect("the blob is sound")
    }
}
