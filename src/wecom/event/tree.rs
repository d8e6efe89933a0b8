//! An XML plaintext as JSON, whole.

use serde_json::map::Entry;
use serde_json::{Map, Value};

use crate::wecom::leaf::LeafText;
use crate::wecom::limits::ReadLimits;
use crate::wecom::xml::{Piece, XmlFault, XmlReader};

/// What a person typed stands in an element of this name: its blanks are kept.
const TYPED: &str = "Content";

/// Reads the content of the root element.
///
/// # Errors
/// It is not well-formed or breaks a limit.
pub(super) fn read(text: &str, limits: &ReadLimits) -> Result<Value, XmlFault> {
    let mut reader = XmlReader::new(text, limits);
    let mut root = Value::Null;
    loop {
        match reader.next()? {
            Piece::Open(_) => root = element(&mut reader, false)?,
            Piece::Text { .. } | Piece::Close => {}
            Piece::End => return Ok(root),
        }
    }
}

/// Reads up to the end of the element that was opened. Recursion is bounded by the reader's depth limit.
fn element(reader: &mut XmlReader<'_>, typed: bool) -> Result<Value, XmlFault> {
    let mut members = Map::new();
    let mut leaf = LeafText::default();
    loop {
        match reader.next()? {
            Piece::Open(name) => {
                let child = element(reader, name.as_str() == TYPED)?;
                insert(&mut members, name.as_str(), child);
            }
            Piece::Text { text, cdata } => leaf.push(text, cdata),
            Piece::Close | Piece::End => break,
        }
    }
    if members.is_empty() {
        let text = if typed { leaf.typed() } else { leaf.trimmed() };
        return Ok(Value::String(text.into_owned()));
    }
    if !leaf.is_blank() {
        members.insert("#text".into(), Value::String(leaf.trimmed().into_owned()));
    }
    Ok(Value::Object(members))
}

/// Adds a child; a second one of the same name makes an array of them. A child is never an array itself.
fn insert(members: &mut Map<String, Value>, name: &str, child: Value) {
    match members.entry(name) {
        Entry::Vacant(place) => {
            place.insert(child);
        }
        Entry::Occupied(mut place) => match place.get_mut() {
            Value::Array(children) => children.push(child),
            first => *first = Value::Array(vec![first.take(), child]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Value, XmlFault> {
        super::read(text, &ReadLimits::DEFAULT)
    }

    #[test]
    fn leaves_are_strings_and_repeated_siblings_arrays() {
        let text = "<xml><A>1</A><B><C>x</C><D/><C> y </C><C>z</C></B><A>18446744073709551615</A>\n<E> mixed <F/></E></xml>";
        let expected = json!({
            "A": ["1", "18446744073709551615"],
            "B": { "C": ["x", "y", "z"], "D": "" },
            "E": { "#text": "mixed", "F": "" },
        });
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn blanks_a_person_typed_are_kept() {
        let text = "<xml><Content>\n<![CDATA[  a\r\n b ]]>\n</Content><Id><![CDATA[mt1 ]]></Id></xml>";
        assert_eq!(read(text).unwrap(), json!({ "Content": "  a\r\n b ", "Id": "mt1" }));
    }
}
