//! Frames of bytes: a versioned, bounded, checksummed form of any serde value.
//!
//! ```text
//! 0         1               5                       5 + length
//! ┌─────────┬───────────────┬───────────────────────┬──────────┐
//! │ version │ length, u32   │ payload (bincode)     │ crc32c   │   integers are little-endian
//! └─────────┴───────────────┴───────────────────────┴──────────┘
//! ```
//!
//! The checksum covers everything before it. A frame says where it ends, so a file or a stream is
//! frames one after the other: [`decode`] returns how many bytes it used.
//!
//! **For discardable or same-version bytes only**: tap recordings, messages between runtimes of
//! one version, snapshots that can be made again. The payload is positional: a field that is added,
//! moved or removed makes other bytes of it, and only the version byte can say so. The durable
//! history is never written this way; its records stay the JSON lines they came as.
//!
//! What a value in a frame must keep to, because the payload does not describe itself:
//! - no `untagged`, `flatten`, internally tagged or `skip_serializing_if`: they do not come back;
//! - no type that holds itself: its depth, and so the decoder's stack, would be the sender's choice;
//! - no sequence of a type without bytes (`Vec<()>`): its length would cost the sender nothing.
//!
//! The payload is bincode 2 with fixed-width integers, always under a limit. Without one, nine
//! hostile bytes (a length of 2^45) end the process in a failed allocation that no supervisor can
//! catch. Fixed width, because the limit counts the width of an integer: with variable-width
//! integers a frame of small numbers could be written and would then be refused by its reader.

use std::error::Error;

use bincode::config::{Config, standard};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame, in bytes, with its header and checksum: 16 MiB, as for a record.
///
/// It bounds what one frame can make a reader allocate, and what a reader must hold to see it whole.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a frame adds to its payload, in bytes: version, length and checksum.
pub const FRAME_BYTES_OVERHEAD: usize = HEADER_BYTES + CHECKSUM_BYTES;

/// The first byte of a frame. The high half (`0xC`) marks a frame, so that text and zeroed bytes
/// are told apart from one; the low half counts the versions of the frame and of every payload.
pub const FRAME_VERSION: u8 = 0xC1;

const LENGTH_BYTES: usize = 4;
const HEADER_BYTES: usize = 1 + LENGTH_BYTES;
const CHECKSUM_BYTES: usize = 4;
const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_BYTES_OVERHEAD;

/// Why a value has no frame, or bytes are no frame of the expected value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes end before the frame does. More of a stream may complete it; the end of a file
    /// here is a torn write.
    #[error("a frame of at least {need} bytes ends after {have}")]
    Truncated {
        /// Bytes of the frame, as far as its header tells.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The first byte is not [`FRAME_VERSION`]: another version's frame, or none at all.
    #[error("no frame of this version: it begins with {found:#04x}, expected {FRAME_VERSION:#04x}")]
    UnknownVersion {
        /// The first byte.
        found: u8,
    },
    /// The frame is, or says it is, longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {bytes} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLarge {
        /// Length of the whole frame.
        bytes: u64,
    },
    /// The bytes are not those that were written.
    #[error("checksum of the frame is {computed:#010x}, expected {stored:#010x}")]
    BadChecksum {
        /// What the frame says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The payload is sound but no value of this type, or the value cannot be written: its type
    /// has a form that the payload does not support.
    #[error("the payload of the frame does not fit its type")]
    Malformed {
        /// What the decoder or encoder met.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The value ends before its payload does: it is a frame of another type.
    #[error("{extra} bytes follow the value in the payload of the frame")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
}

impl CodecError {
    fn malformed(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Malformed { source: Box::new(source) }
    }
}

/// The frame of `value`.
///
/// # Errors
/// [`CodecError::TooLarge`] if the frame would be longer than [`FRAME_BYTES_MAX`]; no more than
/// that is allocated to find out. [`CodecError::Malformed`] if the type cannot be written at all,
/// such as a sequence that does not know its length.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut frame = vec![FRAME_VERSION];
    frame.extend_from_slice(&[0; LENGTH_BYTES]);
    let mut payload = BoundedPayload { frame, bytes: 0 };
    bincode::serde::encode_into_writer(value, &mut payload, config())
        .map_err(CodecError::malformed)?;
    let BoundedPayload { mut frame, bytes } = payload;
    let length = u32::try_from(bytes)
        .ok()
        .filter(|_| bytes <= PAYLOAD_BYTES_MAX as u64)
        .ok_or(CodecError::TooLarge { bytes: bytes.saturating_add(FRAME_BYTES_OVERHEAD as u64) })?;
    frame[1..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&frame);
    frame.extend_from_slice(&checksum.to_le_bytes());
    Ok(frame)
}

/// The value of the frame that `bytes` begin with, and how many of them the frame takes.
///
/// Any bytes are safe to give: it never panics, and allocates at most about [`FRAME_BYTES_MAX`]
/// at a time, for types that keep to the rules of a frame (no type that holds itself, no sequence
/// of a type without bytes).
///
/// # Errors
/// Each kind of [`CodecError`], in this order: the version and the length are looked at first,
/// the payload only once the checksum is right.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    let have = bytes.len();
    if let Some(&found) = bytes.first().filter(|&&first| first != FRAME_VERSION) {
        return Err(CodecError::UnknownVersion { found });
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(CodecError::Truncated { need: FRAME_BYTES_OVERHEAD, have });
    };
    let [_, length @ ..] = *header;
    let length = u32::from_le_bytes(length);
    let length = usize::try_from(length)
        .ok()
        .filter(|&length| length <= PAYLOAD_BYTES_MAX)
        .ok_or(CodecError::TooLarge { bytes: u64::from(length) + FRAME_BYTES_OVERHEAD as u64 })?;
    let need = length + FRAME_BYTES_OVERHEAD;
    let Some((payload, stored)) = rest
        .split_at_checked(length)
        .and_then(|(payload, rest)| Some((payload, *rest.first_chunk::<CHECKSUM_BYTES>()?)))
    else {
        return Err(CodecError::Truncated { need, have });
    };
    let stored = u32::from_le_bytes(stored);
    let computed = crc32c::crc32c(&bytes[..HEADER_BYTES + length]);
    if stored != computed {
        return Err(CodecError::BadChecksum { stored, computed });
    }
    let (value, used) =
        bincode::serde::decode_from_slice(payload, config()).map_err(CodecError::malformed)?;
    match length - used {
        0 => Ok((value, need)),
        extra => Err(CodecError::TrailingBytes { extra }),
    }
}

/// How long the payload of a value would be. Writes nothing and allocates nothing. Of a value that has
/// no payload, what there was of it up to that.
pub(crate) fn encoded_bytes<T: Serialize>(value: &T) -> usize {
    struct Count(usize);
    impl Writer for Count {
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            self.0 += bytes.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    // A value without a payload is counted as far as it goes.
    let _ = bincode::serde::encode_into_writer(value, &mut count, config());
    count.0
}

/// The one configuration of this crate's payloads. Its limit holds for decoding; when encoding,
/// [`BoundedPayload`] keeps it.
#[expect(clippy::disallowed_methods, reason = "the one place that sets the limit")]
fn config() -> impl Config {
    standard().with_little_endian().with_fixed_int_encoding().with_limit::<PAYLOAD_BYTES_MAX>()
}

/// Takes a payload up to its limit; past that it only counts, so that a refusal can say how long
/// the frame would have been.
struct BoundedPayload {
    frame: Vec<u8>,
    bytes: u64,
}

impl Writer for BoundedPayload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes <= PAYLOAD_BYTES_MAX as u64 {
            self.frame.extend_from_slice(bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    /// Stands for a small message: one of each thing that a payload writes its own way.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Note {
        seq: u64,
        kind: Kind,
        text: String,
        parent: Option<u16>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Plain,
        Counted { n: u32 },
    }

    fn note() -> Note {
        Note { seq: 258, kind: Kind::Counted { n: 7 }, text: "hé".into(), parent: Some(1) }
    }

    /// Layout of [`note`]; a change here is a change of [`FRAME_VERSION`].
    #[rustfmt::skip]
    const NOTE_FRAME: [u8; 39] = [
        0xC1,                                       // version
        30, 0, 0, 0,                                // length of the payload
        2, 1, 0, 0, 0, 0, 0, 0,                     // seq
        1, 0, 0, 0,                                 // kind: the second variant
        7, 0, 0, 0,                                 // n
        3, 0, 0, 0, 0, 0, 0, 0, b'h', 0xC3, 0xA9,   // text
        1, 1, 0,                                    // parent
        0x7E, 0xCC, 0x82, 0x48,                     // crc32c
    ];

    /// A frame around any payload, with a right length and checksum: what a hostile peer sends.
    fn frame_of(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![FRAME_VERSION];
        frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&crc32c::crc32c(&frame).to_le_bytes());
        frame
    }

    #[test]
    fn a_small_struct_has_these_bytes() {
        assert_eq!(encode(&note()).unwrap(), NOTE_FRAME);
    }

    #[test]
    fn a_frame_written_by_this_version_is_read() {
        assert_eq!(decode::<Note>(&NOTE_FRAME).unwrap(), (note(), NOTE_FRAME.len()));
    }

    #[test]
    fn an_empty_payload_has_these_bytes() {
        assert_eq!(encode(&()).unwrap(), [0xC1, 0, 0, 0, 0, 0x6B, 0xA6, 0x90, 0x24]);
    }

    #[test]
    fn frames_follow_each_other() {
        let mut stream = encode(&1_u8).unwrap();
        stream.extend(encode(&"two".to_owned()).unwrap());
        let (one, used) = decode::<u8>(&stream).unwrap();
        let (two, rest) = decode::<String>(&stream[used..]).unwrap();
        assert_eq!((one, two.as_str(), used + rest), (1, "two", stream.len()));
    }

    #[test]
    fn nine_hostile_bytes_are_an_error() {
        let lengths = [u64::MAX, 1 << 45, 1 << 31, FRAME_BYTES_MAX as u64];
        for length in lengths {
            // As our fixed-width payloads write a length, and as variable-width ones do.
            let fixed = [&length.to_le_bytes()[..], &[0]].concat();
            let varint = [&[0xFD], &length.to_le_bytes()[..]].concat();
            for payload in [fixed, varint] {
                assert_eq!(payload.len(), 9);
                let frame = frame_of(&payload);
                assert_malformed(&decode::<Vec<u8>>(&frame), length);
                assert_malformed(&decode::<String>(&frame), length);
                assert_malformed(&decode::<Vec<u64>>(&frame), length);
                assert_malformed(&decode::<std::collections::HashMap<u64, u64>>(&frame), length);
                assert!(decode::<Vec<u8>>(&payload).is_err(), "bare, length {length}");
            }
        }
    }

    fn assert_malformed<T: std::fmt::Debug>(result: &Result<(T, usize), CodecError>, length: u64) {
        assert!(matches!(result, Err(CodecError::Malformed { .. })), "length {length}: {result:?}");
    }

    #[test]
    fn a_cut_at_any_byte_is_truncated() {
        for have in 0..NOTE_FRAME.len() {
            let cut = decode::<Note>(&NOTE_FRAME[..have]);
            let need = if have < HEADER_BYTES { FRAME_BYTES_OVERHEAD } else { NOTE_FRAME.len() };
            assert!(
                matches!(cut, Err(CodecError::Truncated { need: n, have: h }) if (n, h) == (need, have)),
                "cut after {have}: {cut:?}"
            );
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..NOTE_FRAME.len() * 8 {
            let mut frame = NOTE_FRAME;
            frame[bit / 8] ^= 1 << (bit % 8);
            let flipped = decode::<Note>(&frame);
            let noticed = match bit / 8 {
                0 => matches!(flipped, Err(CodecError::UnknownVersion { .. })),
                // A longer frame than there is, a shorter one with bytes left, or one too long.
                1..HEADER_BYTES => flipped.is_err(),
                _ => matches!(flipped, Err(CodecError::BadChecksum { .. })),
            };
            assert!(noticed, "bit {bit}: {flipped:?}");
        }
    }

    #[test]
    fn a_flipped_bit_before_other_frames_is_noticed() {
        // A longer length now finds bytes: those of the frames behind it.
        let stream = NOTE_FRAME.repeat(2 * 1024);
        for bit in 0..NOTE_FRAME.len() * 8 {
            let mut stream = stream.clone();
            stream[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Note>(&stream).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_at_the_limit_passes_and_one_byte_more_does_not() {
        let text = "x".repeat(PAYLOAD_BYTES_MAX - size_of::<u64>());
        let frame = encode(&text).unwrap();
        assert_eq!(frame.len(), FRAME_BYTES_MAX);
        assert_eq!(decode::<String>(&frame).unwrap(), (text.clone(), FRAME_BYTES_MAX));

        let over = encode(&(text + "x"));
        let bytes = FRAME_BYTES_MAX as u64 + 1;
        assert!(matches!(over, Err(CodecError::TooLarge { bytes: b }) if b == bytes));
    }

    #[test]
    fn what_can_be_written_can_be_read() {
        // Small numbers fill the limit of a decoder that counts each at its full width.
        let numbers = vec![1_u64; (PAYLOAD_BYTES_MAX - size_of::<u64>()) / size_of::<u64>()];
        let frame = encode(&numbers).unwrap();
        assert_eq!(decode::<Vec<u64>>(&frame).unwrap().0, numbers);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_the_bytes_arrive() {
        let header = [&[FRAME_VERSION], &u32::MAX.to_le_bytes()[..]].concat();
        let refused = decode::<Note>(&header);
        let bytes = u64::from(u32::MAX) + FRAME_BYTES_OVERHEAD as u64;
        assert!(matches!(refused, Err(CodecError::TooLarge { bytes: b }) if b == bytes));
    }

    #[test]
    fn text_and_zeroes_are_no_frames() {
        for (bytes, first) in [(&b"{\"a\":1}"[..], b'{'), (&[0; 64], 0), (&[0xC2; 64], 0xC2)] {
            let refused = decode::<Note>(bytes);
            assert!(matches!(refused, Err(CodecError::UnknownVersion { found }) if found == first));
        }
    }

    #[test]
    fn a_frame_of_another_type_is_noticed() {
        let shorter = decode::<u64>(&NOTE_FRAME);
        assert!(matches!(shorter, Err(CodecError::TrailingBytes { extra: 22 })), "{shorter:?}");
        let longer = decode::<(Note, u64)>(&NOTE_FRAME);
        assert!(matches!(longer, Err(CodecError::Malformed { .. })), "{longer:?}");
    }

    #[test]
    fn a_cause_is_the_source_and_not_in_the_text() {
        let error = decode::<Note>(&frame_of(&[0xFF; 12])).unwrap_err();
        assert_eq!(error.to_string(), "the payload of the frame does not fit its type");
        assert!(error.source().is_some());
    }

    fn any_note() -> impl Strategy<Value = Note> {
        let kind = prop_oneof![Just(Kind::Plain), any::<u32>().prop_map(|n| Kind::Counted { n })];
        (any::<u64>(), kind, ".{0,40}", any::<Option<u16>>())
            .prop_map(|(seq, kind, text, parent)| Note { seq, kind, text, parent })
    }

    proptest! {
        #[test]
        fn a_value_comes_back(note in any_note(), after in any::<Vec<u8>>()) {
            let mut bytes = encode(&note).unwrap();
            let used = bytes.len();
            bytes.extend(after);
            prop_assert_eq!(decode::<Note>(&bytes).unwrap(), (note, used));
        }

        #[test]
        fn any_bytes_are_safe(mut bytes in any::<Vec<u8>>(), as_frame in any::<bool>()) {
            if let Some(first) = bytes.first_mut().filter(|_| as_frame) {
                *first = FRAME_VERSION;
            }
            let _ = decode::<Note>(&bytes);
        }

        #[test]
        fn any_payload_is_safe(payload in any::<Vec<u8>>()) {
            let frame = frame_of(&payload);
            let _ = decode::<Vec<Note>>(&frame);
            if let Ok((note, used)) = decode::<Note>(&frame) {
                prop_assert_eq!(encode(&note).unwrap(), &frame[..used]);
            }
        }
    }
}
