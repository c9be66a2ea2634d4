//! Events out of the bytes of a stream. Pure.

/// Most bytes of one event. A snapshot of a very large tree is the largest there is.
pub(super) const EVENT_BYTES_MAX: usize = 256 << 20;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SseEvent {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// An event that is too large to be one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Cuts bytes into events, wherever the bytes were cut before.
#[derive(Debug, Default)]
pub(super) struct SseReader {
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    last_id: Option<String>,
}

impl SseReader {
    /// Takes in the next bytes, and gives the events that end in them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLarge> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
                return Err(TooLarge);
            }
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                events.extend(self.end_line(line.strip_suffix(b"\r").unwrap_or(line)));
            }
        }
        Ok(events)
    }

    /// The id of the last block that ended and had one. One without data is no event, and says only this.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    fn end_line(&mut self, line: &[u8]) -> Option<SseEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            self.last_id = event.id.clone().or(self.last_id.take());
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // A comment, or a field of a later version.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nevent: fact\nid: a-1\ndata: {\"text\":\"ä\"}\n\n:\n\n\
        retry: 5\r\nevent:fact\r\nid:a-2\r\ndata:{}\r\n\r\ndata: x\ndata: y\n\nevent: none\n\n:\nid: a-3\n\n\
        event: torn\nid: a-4\ndata: z\n";

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        let event = |name: &str, id: Option<&str>, data: &str| SseEvent {
            name: name.to_owned(),
            id: id.map(str::to_owned),
            data: data.to_owned(),
        };
        let expected = [
            event("fact", Some("a-1"), "{\"text\":\"ä\"}"),
            event("fact", Some("a-2"), "{}"),
            event("", None, "x\ny"),
        ];
        for size in 1..STREAM.len() {
            let mut reader = SseReader::default();
            let read = |part| reader.take(part).unwrap();
            let events: Vec<SseEvent> = STREAM.as_bytes().chunks(size).flat_map(read).collect();
            assert_eq!(events, expected, "in pieces of {size}");
            assert_eq!(
                reader.last_id(),
                Some("a-3"),
                "of a block without data too, if it has ended"
            );
        }
    }
}
