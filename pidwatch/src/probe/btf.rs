//! Looks members of kernel structures up in the running kernel's BTF.
//!
//! In: the bytes of `/sys/kernel/btf/vmlinux`. Out: byte offsets, sizes, values of enumerators.
//! A pass over the bytes where they lie: the few look-ups at start do not need the tables that a
//! general parser builds (the loader's own parser keeps its members private).
//!
//! Format: Documentation/bpf/btf.rst of the kernel.

/// Why BTF could not be read or has no answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF, or cut short.
    #[error("the kernel's BTF is malformed at byte {0}")]
    Malformed(usize),
    /// The kernel has no such structure.
    #[error("the kernel's BTF has no {0}")]
    NoType(String),
    /// The structure has no such member.
    #[error("the kernel's BTF has no member {member} in {path}")]
    NoMember {
        /// The whole path that was looked up.
        path: String,
        /// The part that is not there.
        member: String,
    },
}

const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// BTF of one kernel, with the place of each type.
pub struct Btf {
    bytes: Vec<u8>,
    /// Byte where type `id` begins, at index `id - 1`.
    types: Vec<u32>,
    strings: usize,
}

/// One type's fixed part.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    /// Members, parameters and so on that follow.
    vlen: u32,
    /// Member offsets carry bit-field sizes.
    kind_flag: bool,
    /// Bytes of the type, or id of the type that it refers to.
    size_or_type: u32,
    /// Where what follows begins.
    rest: usize,
}

impl Btf {
    /// Finds where each type begins.
    ///
    /// # Errors
    /// [`BtfError::Malformed`] when the bytes are not BTF of this machine's byte order.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let mut btf = Self {
            bytes,
            types: Vec::new(),
            strings: 0,
        };
        if btf.u32(0)? & 0xffff != u32::from(MAGIC) {
            return Err(BtfError::Malformed(0));
        }
        let header = btf.u32(4)? as usize;
        let types = header + btf.u32(8)? as usize;
        let end = types + btf.u32(12)? as usize;
        btf.strings = header + btf.u32(16)? as usize;
        let mut at = types;
        while at < end {
            btf.types.push(at as u32);
            let ty = btf.type_at(at)?;
            let vlen = ty.vlen as usize;
            at = ty.rest
                + match ty.kind {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * vlen,
                    KIND_ENUM | KIND_FUNC_PROTO => 8 * vlen,
                    _ => 0,
                };
        }
        Ok(btf)
    }

    /// Byte offset of a member, as `struct.member[.member...]`; members of nameless structures
    /// and unions count as their parent's.
    ///
    /// # Errors
    /// When the structure or the member is not there.
    pub fn offset_of(&self, path: &str) -> Result<u32, BtfError> {
        Ok(self.bits_to(path)? / 8)
    }

    /// Offset of a member of one bit: its byte, and the bit in it.
    ///
    /// # Errors
    /// When the structure or the member is not there.
    pub fn bit_of(&self, path: &str) -> Result<(u32, u32), BtfError> {
        let bits = self.bits_to(path)?;
        Ok((bits / 8, bits % 8))
    }

    fn bits_to(&self, path: &str) -> Result<u32, BtfError> {
        let mut parts = path.split('.');
        let structure = parts.next().unwrap_or_default();
        let mut ty = self.structure(structure)?;
        let mut offset = 0;
        for member in parts {
            let (at, id) = self.member(ty, member)?.ok_or_else(|| BtfError::NoMember {
                path: path.to_owned(),
                member: member.to_owned(),
            })?;
            offset += at;
            ty = self.resolve(id)?;
        }
        Ok(offset)
    }

    /// Bytes of a structure.
    ///
    /// # Errors
    /// When it is not there.
    pub fn size_of(&self, structure: &str) -> Result<u32, BtfError> {
        Ok(self.structure(structure)?.size_or_type)
    }

    /// Value of an enumerator, in whichever enumeration has it.
    ///
    /// # Errors
    /// When no enumeration has it.
    pub fn enumerator(&self, name: &str) -> Result<u32, BtfError> {
        for &at in &self.types {
            let ty = self.type_at(at as usize)?;
            if ty.kind == KIND_ENUM {
                for i in 0..ty.vlen as usize {
                    let at = ty.rest + 8 * i;
                    if self.string(self.u32(at)?) == name.as_bytes() {
                        return self.u32(at + 4);
                    }
                }
            }
        }
        Err(BtfError::NoType(format!("enumerator {name}")))
    }

    fn structure(&self, name: &str) -> Result<Type, BtfError> {
        for &at in &self.types {
            let ty = self.type_at(at as usize)?;
            if ty.kind == KIND_STRUCT && self.string(ty.name) == name.as_bytes() {
                return Ok(ty);
            }
        }
        Err(BtfError::NoType(format!("struct {name}")))
    }

    /// Offset in bits and type of a member, looked for in nameless members too.
    fn member(&self, ty: Type, name: &str) -> Result<Option<(u32, u32)>, BtfError> {
        if ty.kind != KIND_STRUCT && ty.kind != KIND_UNION {
            return Ok(None);
        }
        for i in 0..ty.vlen as usize {
            let at = ty.rest + 12 * i;
            let member = self.string(self.u32(at)?);
            let id = self.u32(at + 4)?;
            let bits = self.u32(at + 8)? & if ty.kind_flag { 0x00ff_ffff } else { u32::MAX };
            if member == name.as_bytes() {
                return Ok(Some((bits, id)));
            }
            if member.is_empty()
                && let Some((inner, id)) = self.member(self.resolve(id)?, name)?
            {
                return Ok(Some((bits + inner, id)));
            }
        }
        Ok(None)
    }

    /// The type behind typedefs, qualifiers and arrays (an array stands for its first element).
    fn resolve(&self, mut id: u32) -> Result<Type, BtfError> {
        /// More than any kernel nests; ends a malformed loop.
        const DEPTH: usize = 32;
        for _ in 0..DEPTH {
            let at = *self
                .types
                .get((id as usize).wrapping_sub(1))
                .ok_or(BtfError::Malformed(self.bytes.len()))?;
            let ty = self.type_at(at as usize)?;
            id = match ty.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    ty.size_or_type
                }
                KIND_ARRAY => self.u32(ty.rest)?,
                _ => return Ok(ty),
            };
        }
        Err(BtfError::Malformed(self.bytes.len()))
    }

    fn type_at(&self, at: usize) -> Result<Type, BtfError> {
        let info = self.u32(at + 4)?;
        Ok(Type {
            name: self.u32(at)?,
            kind: (info >> 24) & 0x1f,
            vlen: info & 0xffff,
            kind_flag: info >> 31 != 0,
            size_or_type: self.u32(at + 8)?,
            rest: at + 12,
        })
    }

    fn u32(&self, at: usize) -> Result<u32, BtfError> {
        let bytes = self.bytes.get(at..at + 4).ok_or(BtfError::Malformed(at))?;
        Ok(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn string(&self, offset: u32) -> &[u8] {
        let from = self
            .bytes
            .get(self.strings + offset as usize..)
            .unwrap_or_default();
        from.split(|&b| b == 0).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; union { long b; char c; }; const inner_t d[2]; }`,
    /// `typedef struct inner inner_t; struct inner { int x; int y; }; enum { one, two = 2 }`.
    fn sample() -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut name = |s: &str| {
            let at = strings.len() as u32;
            strings.extend(s.as_bytes());
            strings.push(0);
            at
        };
        let info = |kind: u32, vlen: u32| (kind << 24) | vlen;
        let types: Vec<u32> = [
            vec![name("int"), info(KIND_INT, 0), 4, 32],
            vec![
                name("inner"),
                info(KIND_STRUCT, 2),
                8,
                name("x"),
                1,
                0,
                name("y"),
                1,
                32,
            ],
            vec![name("inner_t"), info(KIND_TYPEDEF, 0), 2],
            vec![0, info(KIND_CONST, 0), 3],
            vec![0, info(KIND_ARRAY, 0), 0, 4, 1, 2],
            vec![0, info(KIND_UNION, 2), 8, name("b"), 1, 0, name("c"), 1, 0],
            vec![
                name("outer"),
                info(KIND_STRUCT, 3),
                32,
                name("a"),
                1,
                0,
                0,
                6,
                64,
                name("d"),
                5,
                128,
            ],
            vec![0, info(KIND_ENUM, 2), 4, name("one"), 1, name("two"), 2],
        ]
        .concat();
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        for word in [
            24,
            0,
            types.len() as u32,
            types.len() as u32,
            strings.len() as u32,
        ] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_through_typedefs_arrays_and_nameless_unions() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset_of("outer.a"), Ok(0));
        assert_eq!(btf.offset_of("outer.c"), Ok(8));
        assert_eq!(btf.offset_of("outer.d.y"), Ok(20));
        assert_eq!(btf.bit_of("outer.d.y"), Ok((20, 0)));
        assert_eq!(btf.size_of("inner"), Ok(8));
        assert_eq!(btf.enumerator("two"), Ok(2));
    }

    #[test]
    fn what_is_missing_is_named() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(
            btf.offset_of("gone.a"),
            Err(BtfError::NoType("struct gone".into()))
        );
        let error = btf.offset_of("outer.d.z").unwrap_err().to_string();
        assert!(error.contains("outer.d.z"), "{error}");
    }

    #[test]
    fn a_cut_file_is_an_error_and_no_panic() {
        let whole = sample();
        for len in 0..whole.len() {
            if let Ok(btf) = Btf::parse(whole[..len].to_vec()) {
                let _ = btf.offset_of("outer.d.y");
            }
        }
    }
}
