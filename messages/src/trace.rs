//! W3C trace context: who caused something, as tracing systems tell each other
//! (<https://www.w3.org/TR/trace-context/>).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest `tracestate` that is kept, in bytes: what W3C asks everybody to pass on at least.
pub const TRACE_STATE_BYTES_MAX: usize = 512;

/// Most members of a `tracestate`.
pub const TRACE_STATE_MEMBERS_MAX: usize = 32;

/// Members longer than this are left out first when a `tracestate` is too long, in bytes.
const LONG_MEMBER_BYTES: usize = 128;

/// Length of a `traceparent` of version 00, in bytes.
const TRACE_PARENT_BYTES: usize = 55;

/// One span of a trace, as W3C's `traceparent` and `tracestate` name it. Cheap to clone.
///
/// It names who caused something. A later version than 00 is read as far as 00 goes, and written as
/// 00. Of the flags, `sampled` and `random` are kept and the others are cleared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext(Arc<Inner>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Inner {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
    state: Box<str>,
}

/// Why a trace context was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceContextError {
    /// A `traceparent` has 55 bytes in version 00, and no fewer in any other.
    #[error("a traceparent has 55 bytes (version 00) or more (later versions), not {got}")]
    Length {
        /// How many it has.
        got: usize,
    },
    /// Something else than a lowercase hexadecimal digit, or a dash in its place.
    #[error("a traceparent has lowercase hexadecimal digits and dashes, not what is at byte {at}")]
    Byte {
        /// Where.
        at: usize,
    },
    /// Version `ff` is forbidden.
    #[error("a traceparent must not have version ff")]
    Version,
    /// A trace id of zeros is none.
    #[error("the trace id is zero")]
    NoTrace,
    /// A span id of zeros is none.
    #[error("the parent's span id is zero")]
    NoSpan,
    /// The `tracestate` is longer than [`TRACE_STATE_BYTES_MAX`].
    #[error("a tracestate has at most {TRACE_STATE_BYTES_MAX} bytes, not {got}")]
    StateTooLong {
        /// How many it has.
        got: usize,
    },
    /// The `tracestate` has more than [`TRACE_STATE_MEMBERS_MAX`] members.
    #[error("a tracestate has at most {TRACE_STATE_MEMBERS_MAX} members, not {got}")]
    StateMembers {
        /// How many it has.
        got: usize,
    },
    /// A member of the `tracestate` is no key and value, or its key is there twice.
    #[error("member {member} of the tracestate is not `key=value`, or its key is there twice")]
    StateMember {
        /// The how-many-th, from 0; empty ones count.
        member: usize,
    },
}

const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

impl TraceContext {
    /// The span of this id in the trace of that id.
    ///
    /// # Errors
    /// One of them is zero.
    pub fn new(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Result<Self, TraceContextError> {
        Self::checked(trace, span, u8::from(sampled))
    }

    fn checked(trace: [u8; 16], span: [u8; 8], flags: u8) -> Result<Self, TraceContextError> {
        if trace == [0; 16] {
            return Err(TraceContextError::NoTrace);
        }
        if span == [0; 8] {
            return Err(TraceContextError::NoSpan);
        }
        let flags = flags & (SAMPLED | RANDOM);
        Ok(Self(Arc::new(Inner { trace, span, flags, state: Box::default() })))
    }

    /// Reads a `traceparent`, by the rules of its version.
    ///
    /// # Errors
    /// A [`TraceContextError`]; W3C's rule is to go on without a context then.
    pub fn parse(traceparent: &str) -> Result<Self, TraceContextError> {
        let bytes = traceparent.as_bytes();
        let got = bytes.len();
        if got < TRACE_PARENT_BYTES {
            return Err(TraceContextError::Length { got });
        }
        let [version] = hex(bytes, 0)?;
        if version == 0xff {
            return Err(TraceContextError::Version);
        }
        if version == 0 && got != TRACE_PARENT_BYTES {
            return Err(TraceContextError::Length { got });
        }
        let dashes = [2, 35, 52, TRACE_PARENT_BYTES].into_iter().filter(|&at| at < got);
        for at in dashes {
            if bytes[at] != b'-' {
                return Err(TraceContextError::Byte { at });
            }
        }
        let [flags] = hex(bytes, 53)?;
        Self::checked(hex(bytes, 3)?, hex(bytes, 36)?, flags)
    }

    /// Reads the two headers as W3C has a receiver do it: a `tracestate` that is no good is left out,
    /// and one that is too long is cut, members of more than 128 bytes first, then the last ones.
    ///
    /// # Errors
    /// The `traceparent` is no good.
    pub fn from_headers(
        traceparent: &str,
        tracestate: Option<&str>,
    ) -> Result<Self, TraceContextError> {
        let context = Self::parse(traceparent.trim_matches([' ', '\t']))?;
        let Some(state) = tracestate.and_then(|state| members(state).ok()) else {
            return Ok(context);
        };
        let state = shortened(state);
        Ok(context.clone().with_state(&state.join(",")).unwrap_or(context))
    }

    /// The same with this `tracestate`, without blanks and empty members. An empty one takes it away.
    ///
    /// # Errors
    /// It is too long or no list of members.
    pub fn with_state(mut self, tracestate: &str) -> Result<Self, TraceContextError> {
        let members = members(tracestate)?;
        let got = members.len();
        if got > TRACE_STATE_MEMBERS_MAX {
            return Err(TraceContextError::StateMembers { got });
        }
        let state = members.join(",");
        if state.len() > TRACE_STATE_BYTES_MAX {
            return Err(TraceContextError::StateTooLong { got: state.len() });
        }
        Arc::make_mut(&mut self.0).state = state.into();
        Ok(self)
    }

    /// The trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.0.trace
    }

    /// The span: the parent of what it is handed to.
    pub fn span_id(&self) -> [u8; 8] {
        self.0.span
    }

    /// Whether the caller may have recorded it.
    pub fn is_sampled(&self) -> bool {
        self.0.flags & SAMPLED != 0
    }

    /// Whether the trace id was made at random (W3C level 2).
    pub fn is_random(&self) -> bool {
        self.0.flags & RANDOM != 0
    }

    /// The flags of the `traceparent`.
    pub fn flags(&self) -> u8 {
        self.0.flags
    }

    /// The `traceparent`, in version 00.
    pub fn traceparent(&self) -> String {
        self.to_string()
    }

    /// The `tracestate`; empty if there is none.
    pub fn tracestate(&self) -> &str {
        &self.0.state
    }

    /// The same span of the same trace with these flags, as another tracer has them.
    #[must_use]
    pub fn with_flags(mut self, flags: u8) -> Self {
        Arc::make_mut(&mut self.0).flags = flags & (SAMPLED | RANDOM);
        self
    }
}

/// The bytes whose digits begin at `at`.
fn hex<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], TraceContextError> {
    let digit = |at: usize| match bytes[at] {
        byte @ b'0'..=b'9' => Ok(byte - b'0'),
        byte @ b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(TraceContextError::Byte { at }),
    };
    let mut read = [0; N];
    for (n, byte) in read.iter_mut().enumerate() {
        *byte = digit(at + 2 * n)? << 4 | digit(at + 2 * n + 1)?;
    }
    Ok(read)
}

/// The members of a `tracestate`, empty ones left out.
fn members(state: &str) -> Result<Vec<&str>, TraceContextError> {
    let mut found: Vec<&str> = Vec::new();
    let key_of = |member: &str| member.split_once('=').map(|(key, _)| key.to_owned());
    for (number, member) in state.split(',').enumerate() {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        let refused = TraceContextError::StateMember { member: number };
        let (key, value) = member.split_once('=').ok_or(refused)?;
        if !is_key(key) || !is_value(value) {
            return Err(refused);
        }
        // Few enough to look through, unless somebody sends thousands.
        if found.len() <= TRACE_STATE_MEMBERS_MAX
            && found.iter().any(|had| key_of(had).as_deref() == Some(key))
        {
            return Err(refused);
        }
        found.push(member);
    }
    Ok(found)
}

/// `[a-z0-9][a-z0-9_*/-]{0,255}`, or a tenant of at most 241 such, `@`, and a system of at most 14 that
/// begins with a letter.
fn is_key(key: &str) -> bool {
    let rest = |text: &str| {
        text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte)
        })
    };
    let begins = |text: &str, letter: bool| {
        text.bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase() || (!letter && byte.is_ascii_digit()))
    };
    match key.split_once('@') {
        None => key.len() <= 256 && begins(key, false) && rest(key),
        Some((tenant, system)) => {
            tenant.len() <= 241
                && begins(tenant, false)
                && rest(tenant)
                && system.len() <= 14
                && begins(system, true)
                && rest(system)
        }
    }
}

/// 1 to 256 printable ASCII characters without comma and equals sign, and no blank at its end.
fn is_value(value: &str) -> bool {
    let fits = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(fits) && !value.ends_with(' ')
}

/// What is passed on of a `tracestate` that is too long.
fn shortened(mut members: Vec<&str>) -> Vec<&str> {
    members.truncate(TRACE_STATE_MEMBERS_MAX);
    let bytes = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>();
    while bytes(&members) > TRACE_STATE_BYTES_MAX + 1 {
        let long = members.iter().rposition(|member| member.len() > LONG_MEMBER_BYTES);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    members
}

/// The `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { trace, span, flags, .. } = &*self.0;
        let (trace, span) = (u128::from_be_bytes(*trace), u64::from_be_bytes(*span));
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self}")?;
        if !self.0.state.is_empty() {
            write!(f, ", {}", self.0.state)?;
        }
        f.write_str(")")
    }
}

/// Reads a `traceparent`.
impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        Self::parse(text)
    }
}

/// How it is kept: the two headers, or the first alone where there is no second.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Parent(String),
    Both { traceparent: String, tracestate: String },
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let traceparent = self.to_string();
        let kept = match self.tracestate() {
            "" => Kept::Parent(traceparent),
            state => Kept::Both { traceparent, tracestate: state.to_owned() },
        };
        kept.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = match Kept::deserialize(deserializer)? {
            Kept::Parent(parent) => Self::parse(&parent),
            Kept::Both { traceparent, tracestate } => {
                Self::parse(&traceparent).and_then(|context| context.with_state(&tracestate))
            }
        };
        read.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(text: &str) -> Result<TraceContext, TraceContextError> {
        TraceContext::parse(text)
    }

    #[test]
    fn the_example_of_w3c_is_read_and_written() {
        let context = parse(PARENT).unwrap();
        assert_eq!(context.trace_id()[..3], [0x0a, 0xf7, 0x65]);
        assert_eq!(context.span_id(), 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert!(context.is_sampled() && !context.is_random());
        assert_eq!((context.traceparent().as_str(), context.tracestate()), (PARENT, ""));
    }

    #[test]
    fn what_is_no_traceparent_is_refused_for_a_reason() {
        use TraceContextError::*;
        let with = |at: usize, text: &str| {
            let mut parent = PARENT.to_owned();
            parent.replace_range(at..at + text.len(), text);
            parent
        };
        let zeros = |at: usize, len: usize| with(at, &"0".repeat(len));
        let cases = [
            (String::new(), Length { got: 0 }),
            (PARENT[..54].to_owned(), Length { got: 54 }),
            (format!("{PARENT}-"), Length { got: 56 }),
            (format!("{PARENT}-what"), Length { got: 60 }),
            (with(0, "ff"), Version),
            (with(0, "FF"), Byte { at: 0 }),
            (with(1, "g"), Byte { at: 1 }),
            (with(2, "_"), Byte { at: 2 }),
            (with(35, "0"), Byte { at: 35 }),
            (with(52, "0"), Byte { at: 52 }),
            (with(3, "A"), Byte { at: 3 }),
            (with(50, " "), Byte { at: 50 }),
            (with(54, "x"), Byte { at: 54 }),
            (with(10, "ä"), Byte { at: 10 }),
            (zeros(3, 32), NoTrace),
            (zeros(36, 16), NoSpan),
        ];
        for (text, refusal) in cases {
            assert_eq!(parse(&text), Err(refusal), "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_ours_goes_and_written_as_ours() {
        let later = PARENT.replacen("00", "cc", 1);
        assert_eq!(parse(&later).unwrap().traceparent(), PARENT);
        assert_eq!(parse(&format!("{later}-what.the future")).unwrap().traceparent(), PARENT);
        assert_eq!(parse(&format!("{later}.what")), Err(TraceContextError::Byte { at: 55 }));
        let flags = format!("{}ff", &PARENT[..53]);
        assert!(parse(&flags).unwrap().traceparent().ends_with("-03"), "two flags are known");
    }

    #[test]
    fn a_tracestate_is_a_bounded_list_of_members() {
        use TraceContextError::*;
        let state = |text: &str| parse(PARENT).unwrap().with_state(text);
        assert_eq!(state(" a=1 ,, b@c=x y\t").unwrap().tracestate(), "a=1,b@c=x y");
        assert_eq!(state("a=1").unwrap().with_state("").unwrap().tracestate(), "");
        for bad in ["a", "=1", "a=", "A=1", "a=1=2", "a=ä", "a@B=1", "@c=1", "-a=1", "a@0=1"] {
            assert_eq!(state(bad), Err(StateMember { member: 0 }), "{bad}");
        }
        assert_eq!(state("a=1,b=2,a=3"), Err(StateMember { member: 2 }), "twice");
        let many =
            |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(state(&many(32)).is_ok());
        assert_eq!(state(&many(33)), Err(StateMembers { got: 33 }));
        let long = format!("a={},b={}", "x".repeat(255), "y".repeat(252));
        assert_eq!(state(&long).unwrap().tracestate().len(), 512);
        assert_eq!(state(&format!("{long}z")), Err(StateTooLong { got: 513 }));
    }

    #[test]
    fn a_receiver_leaves_out_a_bad_tracestate_and_cuts_a_long_one() {
        let read = |state: &str| {
            let read = TraceContext::from_headers(PARENT, Some(state)).unwrap();
            read.tracestate().to_owned()
        };
        assert_eq!(read("a=1,b"), "", "all of it");
        let (short, long) = ("x".repeat(100), "x".repeat(200));
        let state = format!("a={long},b={short},c={long},d={short},e={short},f=1");
        assert_eq!(read(&state), format!("b={short},d={short},e={short},f=1"), "the long ones");
        let state = ["a", "b", "c", "d", "e", "f"].map(|key| format!("{key}={short}"));
        assert_eq!(read(&state.join(",")), state[..4].join(","), "the last ones");
        let many: Vec<_> = (0..40).map(|n| format!("k{n}=v")).collect();
        assert_eq!(read(&many.join(",")), many[..32].join(","));
        let padded = format!(" {PARENT}\t");
        assert!(TraceContext::from_headers(&padded, None).is_ok());
    }

    fn member() -> impl Strategy<Value = String> {
        "[a-z0-9][a-z0-9_*/-]{0,20}(@[a-z][a-z0-9_*/-]{0,13})?=[!-+--<>-~]{1,30}"
    }

    proptest! {
        /// What is written is read as the same, and every context is one that can be read.
        #[test]
        fn what_is_written_is_read_as_the_same(
            trace in any::<[u8; 16]>(),
            span in any::<[u8; 8]>(),
            flags in any::<u8>(),
            members in proptest::collection::vec(member(), 0..12),
        ) {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let plain = TraceContext::checked(trace, span, flags).unwrap();
            prop_assert_eq!(&parse(&plain.traceparent()).unwrap(), &plain);
            let state = members.join(",");
            let context = plain.clone().with_state(&state).unwrap_or(plain);
            prop_assert!(context.tracestate().len() <= TRACE_STATE_BYTES_MAX);
            let again = TraceContext::from_headers(
                &context.traceparent(),
                Some(context.tracestate()),
            );
            prop_assert_eq!(&again.unwrap(), &context);
            let json = serde_json::to_string(&context).unwrap();
            prop_assert_eq!(&serde_json::from_str::<TraceContext>(&json).unwrap(), &context);
        }

        /// No text makes it panic, and what is taken is written in our form.
        #[test]
        fn any_text_is_taken_or_refused(
            parent in "[0-9a-fA-F]{2}-[0-9a-f]{31,33}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,5})?|.{0,60}",
            state in ".{0,80}|([a-z]=[a-z ]{0,5},?){0,60}",
        ) {
            if let Ok(context) = TraceContext::from_headers(&parent, Some(&state)) {
                prop_assert_eq!(parse(&context.traceparent()).unwrap().trace_id(), context.trace_id());
                prop_assert!(context.tracestate().split(',').count() <= TRACE_STATE_MEMBERS_MAX);
                prop_assert!(context.tracestate().len() <= TRACE_STATE_BYTES_MAX);
            }
        }
    }
}
