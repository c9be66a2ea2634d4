//! Writing small JSON objects straight into bytes.

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl Object<'_> {
    /// Writes one object.
    pub(super) fn write(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        fill(&mut Object { out, empty: true });
        out.push(b'}');
    }

    /// One object as bytes of its own.
    pub(super) fn bytes(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        Object::write(&mut out, fill);
        out
    }

    pub(super) fn raw(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(value);
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        if is_plain(text) {
            self.out.reserve(text.len() + 2);
            self.out.push(b'"');
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(b'"');
        } else {
            serde_json::to_writer(&mut *self.out, text).expect("a vector takes every byte");
        }
    }

    pub(super) fn text_if(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    pub(super) fn text_or_null(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text),
            None => self.raw(key, b"null"),
        }
    }

    pub(super) fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        let (mut digits, mut at, mut left) = ([0; 20], 20, number);
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
    }

    pub(super) fn number_if(&mut self, key: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        Object::write(self.out, fill);
    }

    /// A list of one object.
    pub(super) fn objects(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        self.out.push(b'[');
        Object::write(self.out, fill);
        self.out.push(b']');
    }

    /// A list of values that are JSON already.
    pub(super) fn list(&mut self, key: &str, values: &[&[u8]]) {
        self.key(key);
        self.out.push(b'[');
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(value);
        }
        self.out.push(b']');
    }

    /// `key` is one of ours: it needs no escape.
    fn key(&mut self, key: &str) {
        self.out.reserve(key.len() + 4);
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(b'"');
        self.out.push(b':');
    }
}

/// Whether nothing in a text needs an escape, as most texts. Every byte is looked at, so that this is
/// done many at a time.
fn is_plain(text: &str) -> bool {
    let needs = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    text.as_bytes().iter().filter(|byte| needs(byte)).count() == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_and_numbers_are_written_as_serde_json_writes_them(text in ".*", number: u64) {
            for text in [&*text, "", "plain", "a \"quoted\" \\ \n\u{1}\u{7f}é"] {
                let ours = Object::bytes(|object| {
                    object.text("text", text);
                    object.number("number", number);
                });
                let theirs = format!("{{\"text\":{},\"number\":{number}}}", serde_json::json!(text));
                prop_assert_eq!(String::from_utf8(ours).unwrap(), theirs);
            }
            for number in [0, 9, 10, u64::MAX] {
                let ours = Object::bytes(|object| object.number("n", number));
                prop_assert_eq!(String::from_utf8(ours).unwrap(), format!("{{\"n\":{number}}}"));
            }
        }
    }
}
