//! Walks the graph of types to answer one question.
//!
//! Sees through what C lets a programmer leave out: typedefs, qualifiers, anonymous structs. Types
//! that refer to each other without end are an error, not a hang. What several definitions of one
//! name mean together is for the caller to say.

use std::cell::Cell;

use btf_rs::{BtfType, Type};

use super::{Member, Param, Prototype, TypeError, Types, malformed};

/// fdtrace runs on 64-bit kernels only.
const POINTER_SIZE: u64 = 8;

/// How deep types may nest. The kernel's do not reach twenty.
const MAX_DEPTH: u32 = 64;

/// How many types one question may visit. `task_struct` takes a few hundred; only a malformed
/// graph of types that contain each other comes here.
const MAX_VISITS: u32 = 100_000;

/// One question being answered, with a bound on the work that malformed types can cause.
pub(super) struct Walk<'a> {
    types: &'a Types,
    /// What was asked for, for messages.
    subject: &'a str,
    visits: Cell<u32>,
}

/// A member as its struct declares it.
#[derive(Clone, Copy)]
pub(super) struct Declared {
    /// From the start of the struct that was searched.
    bit_offset: u64,
    /// Bits of a bit field, else 0.
    bits: u32,
    type_id: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(types: &'a Types, subject: &'a str) -> Self {
        Self {
            types,
            subject,
            visits: Cell::new(0),
        }
    }

    pub(super) fn get(&self, id: u32) -> Result<Type, TypeError> {
        self.visits.set(self.visits.get() + 1);
        if self.visits.get() > MAX_VISITS {
            return Err(self.endless());
        }
        self.types.btf.resolve_type_by_id(id).map_err(malformed)
    }

    fn name(&self, ty: &dyn BtfType) -> Result<String, TypeError> {
        self.types.btf.resolve_name(ty).map_err(malformed)
    }

    /// The type that `ty` refers to.
    pub(super) fn target(&self, ty: &Type) -> Result<u32, TypeError> {
        ty.as_btf_type()
            .and_then(BtfType::get_type_id)
            .ok_or_else(|| {
                TypeError::Malformed(format!("{}: {} refers to no type", self.subject, ty.name()))
            })
    }

    /// All types of a name that `wanted` accepts.
    pub(super) fn named(
        &self,
        name: &str,
        wanted: impl Fn(&Type) -> bool,
    ) -> Result<Vec<(u32, Type)>, TypeError> {
        let mut found = Vec::new();
        for id in self.types.names.candidates(name) {
            let ty = self.get(id)?;
            if !wanted(&ty) {
                continue;
            }
            // The index answers with a superset.
            if let Some(named) = ty.as_btf_type()
                && self.name(named)? == name
            {
                found.push((id, ty));
            }
        }
        Ok(found)
    }

    /// All structs and unions of a name, else those behind typedefs of that name.
    pub(super) fn composites(&self, name: &str) -> Result<Vec<btf_rs::Struct>, TypeError> {
        let mut found = self.named(name, |ty| matches!(ty, Type::Struct(_) | Type::Union(_)))?;
        if found.is_empty() {
            found = self.named(name, |ty| matches!(ty, Type::Typedef(_)))?;
        }
        let mut composites = Vec::new();
        for (id, _) in found {
            composites.extend(self.composite(id)?);
        }
        Ok(composites)
    }

    /// The struct or union that `id` is, seen through typedefs and qualifiers.
    fn composite(&self, mut id: u32) -> Result<Option<btf_rs::Struct>, TypeError> {
        loop {
            let ty = self.get(id)?;
            match ty {
                Type::Struct(composite) | Type::Union(composite) => return Ok(Some(composite)),
                Type::Typedef(_)
                | Type::Const(_)
                | Type::Volatile(_)
                | Type::Restrict(_)
                | Type::TypeTag(_) => id = self.target(&ty)?,
                _ => return Ok(None),
            }
        }
    }

    /// Follows `members`, a dotted path, from `outer` inwards.
    pub(super) fn descend(
        &self,
        outer: btf_rs::Struct,
        members: &str,
    ) -> Result<Option<Declared>, TypeError> {
        let mut composite = outer;
        let mut bit_offset = 0;
        let mut names = members.split('.').peekable();
        while let Some(name) = names.next() {
            let Some(declared) = self.find(&composite, name, 0)? else {
                return Ok(None);
            };
            bit_offset += declared.bit_offset;
            if names.peek().is_some() {
                match self.composite(declared.type_id)? {
                    Some(inner) => composite = inner,
                    None => return Ok(None),
                }
                continue;
            }
            return Ok(Some(Declared {
                bit_offset,
                ..declared
            }));
        }
        Ok(None)
    }

    /// A member that takes whole bytes.
    pub(super) fn member(&self, declared: Declared) -> Result<Member, TypeError> {
        if declared.bits > 0 || !declared.bit_offset.is_multiple_of(8) {
            return Err(TypeError::Bitfield {
                path: self.subject.into(),
            });
        }
        Ok(Member {
            offset: self.narrow(declared.bit_offset / 8)?,
            size: self.narrow(self.size(declared.type_id, 0)?)?,
        })
    }

    /// The place of a bit field of one bit.
    pub(super) fn bit(&self, declared: Declared) -> Result<u32, TypeError> {
        if declared.bits != 1 {
            return Err(TypeError::NoBit {
                path: self.subject.into(),
            });
        }
        self.narrow(declared.bit_offset)
    }

    /// Finds a member of `composite`, looking into its anonymous members too.
    fn find(
        &self,
        composite: &btf_rs::Struct,
        name: &str,
        depth: u32,
    ) -> Result<Option<Declared>, TypeError> {
        if depth > MAX_DEPTH {
            return Err(self.endless());
        }
        for member in &composite.members {
            let type_id = member.get_type_id().unwrap_or_default();
            let bit_offset = u64::from(member.bit_offset());
            if member.get_name_offset() == Some(0) {
                if let Some(inner) = self.composite(type_id)?
                    && let Some(mut declared) = self.find(&inner, name, depth + 1)?
                {
                    declared.bit_offset += bit_offset;
                    return Ok(Some(declared));
                }
            } else if self.name(member)? == name {
                return Ok(Some(Declared {
                    bit_offset,
                    bits: member.bitfield_size().unwrap_or_default(),
                    type_id,
                }));
            }
        }
        Ok(None)
    }

    /// Bytes that a type takes.
    pub(super) fn size(&self, id: u32, depth: u32) -> Result<u64, TypeError> {
        if depth > MAX_DEPTH {
            return Err(self.endless());
        }
        let ty = self.get(id)?;
        Ok(match &ty {
            Type::Int(int) => int.size() as u64,
            Type::Float(float) => float.size() as u64,
            Type::Enum(list) => list.size() as u64,
            Type::Enum64(list) => list.size() as u64,
            Type::Struct(composite) | Type::Union(composite) => composite.size() as u64,
            Type::Ptr(_) => POINTER_SIZE,
            Type::Array(array) => match array.len() as u64 {
                0 => 0,
                len => len
                    .checked_mul(self.size(self.target(&ty)?, depth + 1)?)
                    .ok_or_else(|| self.too_large())?,
            },
            Type::Typedef(_)
            | Type::Const(_)
            | Type::Volatile(_)
            | Type::Restrict(_)
            | Type::TypeTag(_) => self.size(self.target(&ty)?, depth + 1)?,
            other => {
                return Err(TypeError::Malformed(format!(
                    "{} contains a {}, which has no size",
                    self.subject,
                    other.name()
                )));
            }
        })
    }

    /// The prototype behind the id of a func proto.
    pub(super) fn prototype(&self, id: u32) -> Result<Prototype, TypeError> {
        let Type::FuncProto(proto) = self.get(id)? else {
            return Err(TypeError::Malformed(format!(
                "{} is no function",
                self.subject
            )));
        };
        let params = proto
            .parameters
            .iter()
            .map(|param| {
                let name = self.name(param)?;
                Ok(Param {
                    name: (!name.is_empty()).then_some(name),
                    ty: self.spell_param(param)?,
                })
            })
            .collect::<Result<_, TypeError>>()?;
        Ok(Prototype {
            params,
            ret: self.spell(proto.return_type_id(), String::new(), 0)?,
        })
    }

    fn spell_param(&self, param: &btf_rs::Parameter) -> Result<String, TypeError> {
        if param.is_variadic() {
            return Ok("...".to_owned());
        }
        self.spell(param.get_type_id().unwrap_or_default(), String::new(), 0)
    }

    /// Spells a type in C around `declarator`, the part that C writes inside it.
    fn spell(&self, id: u32, declarator: String, depth: u32) -> Result<String, TypeError> {
        if depth > MAX_DEPTH {
            return Err(self.endless());
        }
        let ty = self.get(id)?;
        let keyword = match &ty {
            Type::Ptr(_) => {
                let target = self.unqualified(self.target(&ty)?)?;
                let declarator = match self.get(target)? {
                    Type::FuncProto(_) | Type::Array(_) => format!("(*{declarator})"),
                    _ => format!("*{declarator}"),
                };
                return self.spell(target, declarator, depth + 1);
            }
            Type::Array(array) => {
                let declarator = format!("{declarator}[{}]", array.len());
                return self.spell(self.target(&ty)?, declarator, depth + 1);
            }
            Type::FuncProto(proto) => {
                let params = proto
                    .parameters
                    .iter()
                    .map(|param| match param.get_type_id() {
                        Some(id) if !param.is_variadic() => {
                            self.spell(id, String::new(), depth + 1)
                        }
                        _ => Ok("...".to_owned()),
                    })
                    .collect::<Result<Vec<_>, _>>()?
                    .join(", ");
                return self.spell(
                    proto.return_type_id(),
                    format!("{declarator}({params})"),
                    depth + 1,
                );
            }
            Type::Const(_) | Type::Volatile(_) | Type::Restrict(_) | Type::TypeTag(_) => {
                return self.spell(self.target(&ty)?, declarator, depth + 1);
            }
            Type::Void => "void",
            Type::Struct(_) => "struct ",
            Type::Union(_) => "union ",
            Type::Enum(_) | Type::Enum64(_) => "enum ",
            Type::Fwd(forward) if forward.is_union() => "union ",
            Type::Fwd(_) => "struct ",
            _ => "",
        };
        let name = match ty.as_btf_type() {
            Some(named) => self.name(named)?,
            None => String::new(),
        };
        let name = match (name.is_empty(), keyword.ends_with(' ')) {
            (true, true) => "{…}",
            _ => &name,
        };
        let gap = if declarator.is_empty() || declarator.starts_with('[') {
            ""
        } else {
            " "
        };
        Ok(format!("{keyword}{name}{gap}{declarator}"))
    }

    /// Skips qualifiers and type tags.
    fn unqualified(&self, mut id: u32) -> Result<u32, TypeError> {
        loop {
            let ty = self.get(id)?;
            match ty {
                Type::Const(_) | Type::Volatile(_) | Type::Restrict(_) | Type::TypeTag(_) => {
                    id = self.target(&ty)?;
                }
                _ => return Ok(id),
            }
        }
    }

    pub(super) fn narrow(&self, value: u64) -> Result<u32, TypeError> {
        u32::try_from(value).map_err(|_| self.too_large())
    }

    fn endless(&self) -> TypeError {
        TypeError::Malformed(format!("{} does not come to an end", self.subject))
    }

    fn too_large(&self) -> TypeError {
        TypeError::Malformed(format!("{} is too large to be true", self.subject))
    }
}
