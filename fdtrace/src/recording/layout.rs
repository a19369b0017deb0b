//! Records of another version in this version's form.
//!
//! `Head` and `FileSeen` only grow at their ends: the part that both versions have is the same,
//! an older record's missing fields are zero, and a later one's additional fields are left out.

use std::mem::offset_of;

use fdtrace_common::records::{FileSeen, Head};

/// Bytes of a head that every version has: all that was there when the format began.
const HEAD_MIN: u32 = 136;
const FILE_MIN: u32 = 64;
/// More than any version will have.
const PART_MAX: u32 = 4096;

/// Whether records can have parts of these sizes.
pub(super) fn is_usable(head_bytes: u32, file_bytes: u32) -> bool {
    (HEAD_MIN..=PART_MAX).contains(&head_bytes) && (FILE_MIN..=PART_MAX).contains(&file_bytes)
}

/// Brings a record to this version's form; `None` if it is shorter than it says.
pub(super) fn convert(record: Vec<u8>, head_bytes: u32, file_bytes: u32) -> Option<Vec<u8>> {
    let (head_bytes, file_bytes) = (head_bytes as usize, file_bytes as usize);
    if (head_bytes, file_bytes) == (size_of::<Head>(), size_of::<FileSeen>()) {
        return Some(record);
    }
    let (head, rest) = record.split_at_checked(head_bytes)?;
    let files = offset_of!(Head, files);
    let files = u16::from_le_bytes([*head.get(files)?, *head.get(files + 1)?]);
    let (files, rest) = rest.split_at_checked(usize::from(files) * file_bytes)?;
    let mut converted = Vec::with_capacity(record.len());
    push_part(&mut converted, head, size_of::<Head>());
    for file in files.chunks_exact(file_bytes) {
        push_part(&mut converted, file, size_of::<FileSeen>());
    }
    // What follows a head without files: a name, say.
    converted.extend_from_slice(rest);
    Some(converted)
}

fn push_part(to: &mut Vec<u8>, part: &[u8], size: usize) {
    let common = part.len().min(size);
    to.extend_from_slice(&part[..common]);
    to.resize(to.len() + size - common, 0);
}

#[cfg(test)]
mod tests {
    use fdtrace_common::records::RecordKind;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;
    use crate::wire::{List, Record, decode};

    const HEAD: usize = size_of::<Head>();
    const FILE: usize = size_of::<FileSeen>();

    fn part(bytes: &[u8], size: usize) -> Vec<u8> {
        let mut part = bytes.to_vec();
        // What a later version adds is not zero.
        part.resize(size, 0xff);
        part
    }

    fn record(head_bytes: usize, file_bytes: usize) -> Vec<u8> {
        let mut head = Head::new_zeroed();
        head.kind = RecordKind::ListQueued as u16;
        (head.list, head.files, head.total) = (7, 2, 2);
        let mut record = part(head.as_bytes(), head_bytes);
        for fd in [3, 4] {
            let mut file = FileSeen::new_zeroed();
            file.fd = fd;
            record.extend(part(file.as_bytes(), file_bytes));
        }
        record
    }

    #[test]
    fn a_later_versions_additions_are_left_out() {
        let later = record(HEAD + 16, FILE + 8);
        let converted = convert(later, HEAD as u32 + 16, FILE as u32 + 8).expect("it is whole");
        assert_eq!(converted, record(HEAD, FILE));
        let Ok(Record::Event(event)) = decode(&converted) else {
            panic!("it is a queued list");
        };
        let seen = event.seen;
        assert_eq!(seen.stamp.list, List::at(7));
        let fds: Vec<i32> = seen.files.iter().filter_map(|file| file.fd).collect();
        assert_eq!(fds, [3, 4]);
    }

    #[test]
    fn what_an_earlier_version_lacked_is_zero() {
        let earlier = &record(HEAD, FILE)[..HEAD - 8];
        let mut head = earlier.to_vec();
        // Without its files, which would follow.
        let files = offset_of!(Head, files);
        head[files..files + 2].fill(0);
        let converted = convert(head.clone(), HEAD as u32 - 8, FILE as u32).expect("it is whole");
        head.resize(HEAD, 0);
        assert_eq!(converted, head);
    }

    #[test]
    fn a_record_shorter_than_it_says_is_none() {
        let mut later = record(HEAD + 16, FILE);
        later.pop();
        assert_eq!(convert(later, HEAD as u32 + 16, FILE as u32), None);
        assert_eq!(convert(vec![0; 10], HEAD as u32 + 16, FILE as u32), None);
    }
}
