//! Struct layouts and function prototypes of one kernel, from its BTF.
//!
//! The plan asks here for every offset that the programs read and for the prototype of every
//! function it considers. An answer is exact or it is an error that names the member: a type that
//! is missing, defined twice or resized is never guessed at. Modules' BTF is not read, because
//! everything on the path is built into the kernel.

mod copy;
mod excerpt;
mod walk;

use std::{fmt, io, os::fd::AsRawFd, path::Path};

use btf_rs::{Backend, Btf, Type};
use thiserror::Error;

pub use self::excerpt::Target;
use self::walk::{Declared, Walk};
use copy::sealed_copy;

use super::names::Names;

/// The types of one kernel.
pub struct Types {
    btf: Btf,
    names: Names,
}

/// Where a member is and how much room it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the outermost struct.
    pub offset: u32,
    /// Bytes; zero for a flexible array.
    pub size: u32,
}

/// A function's parameters and result, without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype {
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Type of the result in C spelling.
    pub ret: String,
}

/// One parameter of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name, where the BTF has one: tracepoints' parameters have none.
    pub name: Option<String>,
    /// Its type in C spelling without qualifiers, such as `struct sk_buff *`.
    pub ty: String,
}

/// Why a question about a type has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TypeError {
    /// No type has this name.
    #[error("this kernel has no type {name}")]
    NoSuchType {
        /// The type's name.
        name: String,
    },
    /// The type exists, the member does not.
    #[error("this kernel has no member {path}")]
    NoSuchMember {
        /// The member's dotted path.
        path: String,
    },
    /// Several definitions of the name give different answers.
    #[error("{name} is ambiguous: this kernel has {count} definitions that differ")]
    Ambiguous {
        /// Type, member or function.
        name: String,
        /// How many definitions were found.
        count: usize,
    },
    /// The member does not start or end on a byte.
    #[error("{path} is a bit field")]
    Bitfield {
        /// The member's dotted path.
        path: String,
    },
    /// The member is not a bit field of one bit.
    #[error("{path} is not one bit")]
    NoBit {
        /// The member's dotted path.
        path: String,
    },
    /// The member has another size than the programs expect.
    #[error("{path} takes {found} bytes where {expected} were expected")]
    Resized {
        /// The member's dotted path.
        path: String,
        /// Bytes that the programs were written for.
        expected: u32,
        /// Bytes that it takes in this kernel.
        found: u32,
    },
    /// The BTF contradicts itself.
    #[error("malformed BTF: {0}")]
    Malformed(String),
    /// The BTF is fine but there is no memory to keep it in.
    #[error("cannot keep the BTF in memory")]
    Storage(#[from] io::Error),
}

impl TypeError {
    /// What the user can do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchType { .. }
            | Self::NoSuchMember { .. }
            | Self::Ambiguous { .. }
            | Self::Bitfield { .. }
            | Self::NoBit { .. }
            | Self::Resized { .. } => Some(
                "fdtrace does not know this kernel's layout: report its version and the output of `fdtrace doctor`",
            ),
            Self::Malformed(_) => {
                Some("the kernel's BTF is damaged or newer than this fdtrace understands")
            }
            Self::Storage(_) => None,
        }
    }
}

impl Types {
    /// Reads the running kernel's, from its file of this content. Where that can be mapped, as on 6.18, it
    /// takes no memory of this process.
    ///
    /// # Errors
    ///
    /// Those of [`Types::from_bytes`].
    pub(super) fn of_kernel(file: &Path, content: &[u8]) -> Result<Self, TypeError> {
        match Btf::from_file_with_backend(file, Backend::Mmap) {
            Ok(btf) => Ok(Self {
                btf,
                names: Names::index(content)?,
            }),
            Err(_) => Self::from_bytes(content),
        }
    }

    /// Reads raw BTF, as found in `/sys/kernel/btf/vmlinux`, of this machine's byte order.
    ///
    /// # Errors
    ///
    /// [`TypeError::Malformed`] when it is not BTF, [`TypeError::Storage`] when a memfd cannot be
    /// made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TypeError> {
        let names = Names::index(bytes)?;
        // What is mapped must not change underneath.
        let blob = sealed_copy(bytes)?;
        let path = format!("/proc/self/fd/{}", blob.as_raw_fd());
        let btf =
            Btf::from_file_with_backend(path, Backend::Mmap).map_err(|error| match error {
                btf_rs::Error::IO(source) => TypeError::Storage(source),
                other => malformed(other),
            })?;
        Ok(Self { btf, names })
    }

    /// Finds a member by a dotted path that starts with a type: `sock.__sk_common.skc_family`.
    ///
    /// Members of anonymous structs and unions are found without naming them, as in C.
    ///
    /// # Errors
    ///
    /// [`TypeError::NoSuchType`], [`TypeError::NoSuchMember`], [`TypeError::Ambiguous`],
    /// [`TypeError::Bitfield`] or [`TypeError::Malformed`].
    pub fn member(&self, path: &str) -> Result<Member, TypeError> {
        self.find(path, Walk::member)
    }

    /// Finds a bit field of one bit: its offset in bits from the start of the type.
    ///
    /// # Errors
    ///
    /// Those of [`Types::member`] but [`TypeError::Bitfield`], and [`TypeError::NoBit`] if it is another
    /// kind of member.
    pub fn bit(&self, path: &str) -> Result<u32, TypeError> {
        self.find(path, Walk::bit)
    }

    fn find<'a, T: PartialEq>(
        &'a self,
        path: &'a str,
        read: impl Fn(&Walk<'a>, Declared) -> Result<T, TypeError>,
    ) -> Result<T, TypeError> {
        let no_such_member = || TypeError::NoSuchMember { path: path.into() };
        let (type_name, members) = path.split_once('.').ok_or_else(no_such_member)?;
        let walk = Walk::new(self, path);
        let definitions = walk.composites(type_name)?;
        if definitions.is_empty() {
            return Err(TypeError::NoSuchType {
                name: type_name.into(),
            });
        }
        let count = definitions.len();
        let found = definitions
            .into_iter()
            .map(|definition| {
                let declared = walk.descend(definition, members)?;
                declared.map(|declared| read(&walk, declared)).transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        unanimous(found, path, count)?.ok_or_else(no_such_member)
    }

    /// Like [`Types::member`], for a member that must take `expected` bytes; 0 expects nothing, for
    /// members of which only the place matters.
    ///
    /// # Errors
    ///
    /// Those of [`Types::member`], and [`TypeError::Resized`] if it has another size.
    pub fn member_of_size(&self, path: &str, expected: u32) -> Result<Member, TypeError> {
        let member = self.member(path)?;
        if expected == 0 || member.size == expected {
            Ok(member)
        } else {
            Err(TypeError::Resized {
                path: path.into(),
                expected,
                found: member.size,
            })
        }
    }

    /// How many bytes a type takes: a struct, union, enum, typedef or base type, by its bare name.
    ///
    /// # Errors
    ///
    /// [`TypeError::NoSuchType`], [`TypeError::Ambiguous`] or [`TypeError::Malformed`].
    pub fn size_of(&self, type_name: &str) -> Result<u32, TypeError> {
        let walk = Walk::new(self, type_name);
        let mut ids = walk.named(type_name, |ty| {
            matches!(ty, Type::Struct(_) | Type::Union(_))
        })?;
        if ids.is_empty() {
            ids = walk.named(type_name, |ty| !matches!(ty, Type::Func(_)))?;
        }
        let count = ids.len();
        let sizes = ids
            .into_iter()
            .map(|(id, _)| walk.size(id, 0))
            .collect::<Result<Vec<_>, _>>()?;
        if sizes.is_empty() {
            return Err(TypeError::NoSuchType {
                name: type_name.into(),
            });
        }
        walk.narrow(unanimous(sizes, type_name, count)?)
    }

    /// The prototype of a function, if the BTF describes it.
    ///
    /// A description does not mean that the function can be hooked: some exist only as suffixed
    /// clones (`.isra.0`), which [`Symbols`](super::Symbols) tells apart.
    ///
    /// # Errors
    ///
    /// [`TypeError::Ambiguous`] when static functions share the name but not the prototype, or
    /// [`TypeError::Malformed`].
    pub fn function(&self, name: &str) -> Result<Option<Prototype>, TypeError> {
        let walk = Walk::new(self, name);
        let functions = walk.named(name, |ty| matches!(ty, Type::Func(_)))?;
        let prototypes = functions
            .into_iter()
            .map(|(_, function)| walk.prototype(walk.target(&function)?))
            .collect::<Result<Vec<_>, _>>()?;
        one_prototype(&prototypes, name)
    }

    /// The BTF id of a tracepoint's handlers, by which a program is attached to it.
    #[must_use]
    pub fn tracepoint_id(&self, name: &str) -> Option<u32> {
        let typedef = format!("btf_trace_{name}");
        let walk = Walk::new(self, &typedef);
        let definitions = walk.named(&typedef, |ty| matches!(ty, Type::Typedef(_)));
        definitions.ok()?.first().map(|(id, _)| *id)
    }

    /// The BTF id of a function, by which a program is attached to it.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        let walk = Walk::new(self, name);
        let functions = walk.named(name, |ty| matches!(ty, Type::Func(_))).ok()?;
        functions.first().map(|(id, _)| *id)
    }

    /// The BTF id of the one structure of this name, if there is just one.
    #[must_use]
    pub fn structure_id(&self, name: &str) -> Option<u32> {
        let walk = Walk::new(self, name);
        let found = walk.named(name, |ty| matches!(ty, Type::Struct(_))).ok()?;
        match found.as_slice() {
            [(id, _)] => Some(*id),
            _ => None,
        }
    }

    /// The prototype of a tracepoint's handlers, if the kernel has the tracepoint.
    ///
    /// The leading `void *` that the kernel passes to its own handlers is left out: the first
    /// parameter is a program's `args[0]`.
    ///
    /// # Errors
    ///
    /// [`TypeError::Ambiguous`] or [`TypeError::Malformed`].
    pub fn tracepoint(&self, name: &str) -> Result<Option<Prototype>, TypeError> {
        let typedef = format!("btf_trace_{name}");
        let walk = Walk::new(self, &typedef);
        let definitions = walk.named(&typedef, |ty| matches!(ty, Type::Typedef(_)))?;
        let prototypes = definitions
            .into_iter()
            .map(|(_, definition)| {
                let pointer = walk.get(walk.target(&definition)?)?;
                let mut prototype = walk.prototype(walk.target(&pointer)?)?;
                if prototype.params.is_empty() {
                    return Err(TypeError::Malformed(format!("{typedef} has no parameter")));
                }
                prototype.params.remove(0);
                Ok(prototype)
            })
            .collect::<Result<Vec<_>, _>>()?;
        one_prototype(&prototypes, name)
    }
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Types").finish_non_exhaustive()
    }
}

impl fmt::Display for Prototype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.ret)?;
        for (index, param) in self.params.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{param}")?;
        }
        if self.params.is_empty() {
            f.write_str("void")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ty = &self.ty;
        match &self.name {
            Some(name) if ty.ends_with('*') => write!(f, "{ty}{name}"),
            Some(name) => write!(f, "{ty} {name}"),
            None => f.write_str(ty),
        }
    }
}

/// The one answer that all definitions of a name give.
fn unanimous<T: PartialEq>(answers: Vec<T>, name: &str, count: usize) -> Result<T, TypeError> {
    let ambiguous = || TypeError::Ambiguous {
        name: name.into(),
        count,
    };
    let mut answers = answers.into_iter();
    let first = answers.next().ok_or_else(ambiguous)?;
    if answers.all(|answer| answer == first) {
        Ok(first)
    } else {
        Err(ambiguous())
    }
}

/// The one prototype that all functions of a name have.
///
/// Names of parameters do not count: 6.1 lists `__x64_sys_sendmsg` twice, with a parameter called
/// `__unused` and with one called `regs`, and it is one function.
fn one_prototype(prototypes: &[Prototype], name: &str) -> Result<Option<Prototype>, TypeError> {
    let count = prototypes.len();
    let Some(first) = prototypes.first().cloned() else {
        return Ok(None);
    };
    let types = |prototype: &Prototype| -> Vec<String> {
        let params = prototype.params.iter().map(|param| param.ty.clone());
        params.chain([prototype.ret.clone()]).collect()
    };
    unanimous(prototypes.iter().map(types).collect(), name, count)?;
    Ok(Some(first))
}

fn malformed(error: impl fmt::Display) -> TypeError {
    TypeError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests;
