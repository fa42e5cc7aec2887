//! Reading and writing packed integers and byte strings, with every length checked.

use crate::Error;

#[derive(Default)]
pub(crate) struct Packer(pub(crate) Vec<u8>);

impl Packer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// LEB128: seven bits a byte, so small numbers are short.
    #[expect(clippy::cast_possible_truncation, reason = "seven bits are left")]
    pub(crate) fn varint(&mut self, mut n: u64) {
        let (mut bytes, mut length) = ([0; 10], 0);
        while n >= 0x80 {
            bytes[length] = (n as u8 & 0x7f) | 0x80;
            n >>= 7;
            length += 1;
        }
        bytes[length] = n as u8;
        self.0.extend_from_slice(&bytes[..=length]);
    }

    /// Signed: zigzag, so small negative numbers are short too.
    pub(crate) fn signed(&mut self, n: i64) {
        self.varint(((n << 1) ^ (n >> 63)).cast_unsigned());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

pub(crate) struct Unpacker<'a>(pub(crate) &'a [u8]);

impl<'a> Unpacker<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        let Some((first, rest)) = self.0.split_first() else {
            return Err(Error::Corrupt("a packed record ends early"));
        };
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Error> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Error::Corrupt("a packed integer is too long"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Error> {
        let n = self.varint()?;
        Ok((n >> 1).cast_signed() ^ -((n & 1).cast_signed()))
    }

    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Error> {
        T::try_from(self.varint()?).map_err(|_| Error::Corrupt("a packed integer is out of range"))
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.0.split_at_checked(n) else {
            return Err(Error::Corrupt("a packed record ends early"));
        };
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let n = self.small()?;
        self.take(n)
    }
}
