//! Server-sent events, as far as the gateway's streams use them.

/// Longest message that is put together, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// One message, or a word about where the stream is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// The cursor behind it.
    pub(super) id: Option<String>,
    /// Its text; none if it only tells the cursor.
    pub(super) data: Option<String>,
}

/// Puts messages together from what arrives, in whatever pieces.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    rest: Vec<u8>,
    message: Message,
}

impl Assembler {
    /// The messages that end within `bytes`; `None`: one is too long.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<Vec<Message>> {
        let mut whole = Vec::new();
        self.rest.extend_from_slice(bytes);
        while let Some(at) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=at).collect();
            let line = String::from_utf8_lossy(&line);
            self.line(line.trim_end_matches(['\r', '\n']), &mut whole);
        }
        (self.rest.len() <= MESSAGE_BYTES_MAX).then_some(whole)
    }

    fn line(&mut self, line: &str, whole: &mut Vec<Message>) {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            if message != Message::default() {
                whole.push(message);
            }
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.message.id = Some(value.to_owned()),
            "data" => match &mut self.message.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            // Comments, and fields that mean nothing here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_whatever_pieces() {
        let text = "id: s1\n: begins\n\nid: s2\ndata: {\"a\":1}\n\n: nothing\n\ndata:x\r\ndata: 好\r\n\r\n";
        let message = |id: Option<&str>, data: Option<&str>| Message {
            id: id.map(ToOwned::to_owned),
            data: data.map(ToOwned::to_owned),
        };
        let expected =
            [message(Some("s1"), None), message(Some("s2"), Some("{\"a\":1}")), message(None, Some("x\n好"))];
        for size in [1, 2, 3, 7, text.len()] {
            let mut assembler = Assembler::default();
            let found: Vec<Message> =
                text.as_bytes().chunks(size).flat_map(|piece| assembler.feed(piece).unwrap()).collect();
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut assembler = Assembler::default();
        assert!(assembler.feed(&vec![b'x'; MESSAGE_BYTES_MAX]).is_some());
        assert!(assembler.feed(b"x").is_none());
    }
}
