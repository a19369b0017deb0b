//! Struct layouts and function prototypes of one kernel, from its BTF.
//!
//! The plan asks here for every offset that the programs read and for the prototype of every
//! function it considers. An answer is exact or it is an error that names the member: a type that
//! is missing, defined twice or resized is never guessed at. Modules' BTF is not read, because
//! everything on the path is built into the kernel.

use std::{
    cell::Cell,
    fmt, fs,
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use btf_rs::{Backend, Btf, BtfType, Type};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};
use thiserror::Error;

use super::names::Names;

/// fdtrace runs on 64-bit kernels only.
const POINTER_SIZE: u64 = 8;

/// How deep types may nest. The kernel's do not reach twenty.
const MAX_DEPTH: u32 = 64;

/// How many types one question may visit. `task_struct` takes a few hundred; only a malformed
/// graph of types that contain each other comes here.
const MAX_VISITS: u32 = 100_000;

/// The types of one kernel.
pub struct Types {
    btf: Btf,
    names: Names,
    /// The BTF itself, sealed against change: `btf` maps this very memory.
    blob: fs::File,
    len: usize,
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
    /// Its name, where the BTF has one. Tracepoints' do not before 6.16 or so.
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
    /// Reads raw BTF, as found in `/sys/kernel/btf/vmlinux`, of this machine's byte order.
    ///
    /// # Errors
    ///
    /// [`TypeError::Malformed`] when it is not BTF, [`TypeError::Storage`] when a memfd cannot be
    /// made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TypeError> {
        let names = Names::index(bytes)?;
        // sysfs cannot be mapped before 6.18 or so, and a private copy cannot change underneath.
        let blob = sealed_copy(bytes)?;
        let path = format!("/proc/self/fd/{}", blob.as_raw_fd());
        let btf =
            Btf::from_file_with_backend(path, Backend::Mmap).map_err(|error| match error {
                btf_rs::Error::IO(source) => TypeError::Storage(source),
                other => malformed(other),
            })?;
        Ok(Self {
            btf,
            names,
            blob,
            len: bytes.len(),
        })
    }

    /// The BTF that this was read from, for loaders that parse it themselves.
    ///
    /// # Errors
    ///
    /// When there is no memory for a copy.
    pub fn raw(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len];
        self.blob.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Finds a member by a dotted path that starts with a type: `sock.__sk_common.skc_family`.
    ///
    /// Members of anonymous structs and unions are found without naming them, as in C.
    ///
    /// # Errors
    ///
    /// All but [`TypeError::Resized`].
    pub fn member(&self, path: &str) -> Result<Member, TypeError> {
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
            .map(|definition| walk.descend(definition, members))
            .collect::<Result<Vec<_>, _>>()?;
        unanimous(found, path, count)?.ok_or_else(no_such_member)
    }

    /// Like [`Types::member`], for a member that must take `expected` bytes.
    ///
    /// # Errors
    ///
    /// All.
    pub fn member_of_size(&self, path: &str, expected: u32) -> Result<Member, TypeError> {
        let member = self.member(path)?;
        if member.size == expected {
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
        let count = functions.len();
        let prototypes = functions
            .into_iter()
            .map(|(_, function)| walk.prototype(walk.target(&function)?))
            .collect::<Result<Vec<_>, _>>()?;
        if prototypes.is_empty() {
            return Ok(None);
        }
        unanimous(prototypes, name, count).map(Some)
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
        let count = definitions.len();
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
        if prototypes.is_empty() {
            return Ok(None);
        }
        unanimous(prototypes, name, count).map(Some)
    }
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Types")
            .field("len", &self.len)
            .finish_non_exhaustive()
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

/// One question being answered, with a bound on the work that malformed types can cause.
struct Walk<'a> {
    types: &'a Types,
    /// What was asked for, for messages.
    subject: &'a str,
    visits: Cell<u32>,
}

/// A member as its struct declares it.
struct Declared {
    /// From the start of the struct that was searched.
    bit_offset: u64,
    is_bitfield: bool,
    type_id: u32,
}

impl<'a> Walk<'a> {
    fn new(types: &'a Types, subject: &'a str) -> Self {
        Self {
            types,
            subject,
            visits: Cell::new(0),
        }
    }

    fn get(&self, id: u32) -> Result<Type, TypeError> {
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
    fn target(&self, ty: &Type) -> Result<u32, TypeError> {
        ty.as_btf_type()
            .and_then(BtfType::get_type_id)
            .ok_or_else(|| {
                TypeError::Malformed(format!("{}: {} refers to no type", self.subject, ty.name()))
            })
    }

    /// All types of a name that `wanted` accepts.
    fn named(
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
    fn composites(&self, name: &str) -> Result<Vec<btf_rs::Struct>, TypeError> {
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
    fn descend(&self, outer: btf_rs::Struct, members: &str) -> Result<Option<Member>, TypeError> {
        let mut composite = outer;
        let mut bits = 0;
        let mut names = members.split('.').peekable();
        while let Some(name) = names.next() {
            let Some(declared) = self.find(&composite, name, 0)? else {
                return Ok(None);
            };
            bits += declared.bit_offset;
            if names.peek().is_some() {
                match self.composite(declared.type_id)? {
                    Some(inner) => composite = inner,
                    None => return Ok(None),
                }
                continue;
            }
            if declared.is_bitfield || bits % 8 != 0 {
                return Err(TypeError::Bitfield {
                    path: self.subject.into(),
                });
            }
            return Ok(Some(Member {
                offset: self.narrow(bits / 8)?,
                size: self.narrow(self.size(declared.type_id, 0)?)?,
            }));
        }
        Ok(None)
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
                    is_bitfield: member.bitfield_size().is_some_and(|bits| bits > 0),
                    type_id,
                }));
            }
        }
        Ok(None)
    }

    /// Bytes that a type takes.
    fn size(&self, id: u32, depth: u32) -> Result<u64, TypeError> {
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
    fn prototype(&self, id: u32) -> Result<Prototype, TypeError> {
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

    fn narrow(&self, value: u64) -> Result<u32, TypeError> {
        u32::try_from(value).map_err(|_| self.too_large())
    }

    fn endless(&self) -> TypeError {
        TypeError::Malformed(format!("{} does not come to an end", self.subject))
    }

    fn too_large(&self) -> TypeError {
        TypeError::Malformed(format!("{} is too large to be true", self.subject))
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

fn malformed(error: impl fmt::Display) -> TypeError {
    TypeError::Malformed(error.to_string())
}

/// Copies `bytes` into memory that nothing can change or cut short any more, so that mapping it
/// cannot fault.
fn sealed_copy(bytes: &[u8]) -> io::Result<fs::File> {
    let mut file = fs::File::from(memfd()?);
    file.write_all(bytes)?;
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

fn memfd() -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // vm.memfd_noexec=2 demands this flag, which kernels before 6.3 do not know.
    let noexec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create("fdtrace-btf", flags | noexec) {
        Err(Errno::EINVAL) => Ok(memfd_create("fdtrace-btf", flags)?),
        result => Ok(result?),
    }
}
