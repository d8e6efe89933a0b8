//! The part of XML that callbacks use, read piece by piece and with limits.
//!
//! Elements, text, CDATA, the five predefined entities and character references; comments, processing
//! instructions and the XML declaration are passed over. A DTD or an attribute ends the reading: the protocol has
//! neither, and what can be declared there is an attack. Line ends and control characters are kept as sent, since
//! a text is what somebody typed.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event as XmlEvent};

use crate::sabotage::{self, Protection};
use crate::wecom::limits::ReadLimits;
use crate::wecom::refusal::quote;

/// Why a document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum XmlFault {
    /// A document type declaration.
    #[error("it holds a DTD")]
    Dtd,
    /// An attribute.
    #[error("it holds an attribute")]
    Attribute,
    /// An entity that only a DTD could define.
    #[error("it holds an undefined entity")]
    Entity,
    /// Nested deeper than this.
    #[error("it is nested deeper than {0}")]
    Depth(usize),
    /// More pieces than this.
    #[error("it has more than {0} pieces")]
    Pieces(usize),
    /// Text or a second element outside the root element.
    #[error("there is something outside its root element")]
    OutsideRoot,
    /// Not well-formed; the text is the parser's, cut, since it quotes the document.
    #[error("it is not well-formed: {0}")]
    Malformed(String),
}

/// The next thing in a document.
pub(crate) enum Piece<'a> {
    /// An element begins; each one is closed, also `<a/>`.
    Open(Name<'a>),
    /// The innermost element ends.
    Close,
    /// A stretch of text of the innermost element; one text may come in several.
    Text {
        /// With references resolved.
        text: Cow<'a, str>,
        /// Whether it stood in a CDATA section.
        cdata: bool,
    },
    /// The document is over and was well-formed.
    End,
}

/// The name of an element.
pub(crate) struct Name<'a>(BytesStart<'a>);

impl Name<'_> {
    /// As written.
    pub(crate) fn as_str(&self) -> &str {
        self.0.name().into_inner()
    }
}

/// Reads a document piece by piece.
pub(crate) struct XmlReader<'a> {
    reader: Reader<&'a [u8]>,
    limits: ReadLimits,
    depth: usize,
    pieces: usize,
    root_seen: bool,
}

impl<'a> XmlReader<'a> {
    /// Begins with `text`; a byte order mark is passed over.
    pub(crate) fn new(text: &'a str, limits: &ReadLimits) -> Self {
        let mut reader = Reader::from_str(text.trim_start_matches('\u{FEFF}'));
        reader.config_mut().expand_empty_elements = true;
        Self { reader, limits: *limits, depth: 0, pieces: 0, root_seen: false }
    }

    /// The next piece.
    ///
    /// # Errors
    /// The document breaks a rule above. The reader is of no use then.
    pub(crate) fn next(&mut self) -> Result<Piece<'a>, XmlFault> {
        loop {
            self.pieces += 1;
            if self.pieces > self.limits.xml_pieces_max {
                return Err(XmlFault::Pieces(self.limits.xml_pieces_max));
            }
            match self.reader.read_event().map_err(|error| XmlFault::Malformed(quote(&error.to_string())))? {
                XmlEvent::Start(start) => return self.open(start),
                XmlEvent::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Piece::Close);
                }
                XmlEvent::Text(text) => {
                    let text = text.into_inner();
                    if self.depth > 0 {
                        return Ok(Piece::Text { text, cdata: false });
                    }
                    if !text.trim_ascii().is_empty() {
                        return Err(XmlFault::OutsideRoot);
                    }
                }
                XmlEvent::CData(section) => {
                    self.require_inside()?;
                    return Ok(Piece::Text { text: section.into_inner(), cdata: true });
                }
                XmlEvent::GeneralRef(reference) => {
                    self.require_inside()?;
                    let text = resolve(&reference.into_inner())?;
                    return Ok(Piece::Text { text, cdata: false });
                }
                XmlEvent::DocType(_) if sabotage::off(Protection::NoDtd) => {}
                XmlEvent::DocType(_) => return Err(XmlFault::Dtd),
                XmlEvent::Comment(_) | XmlEvent::PI(_) | XmlEvent::Decl(_) => {}
                XmlEvent::Empty(_) => return Err(XmlFault::Malformed("an unexpanded empty element".into())),
                XmlEvent::Eof => return self.end(),
            }
        }
    }

    fn open(&mut self, start: BytesStart<'a>) -> Result<Piece<'a>, XmlFault> {
        if self.depth == 0 && self.root_seen {
            return Err(XmlFault::OutsideRoot);
        }
        self.root_seen = true;
        self.depth += 1;
        if self.depth > self.limits.xml_depth_max {
            return Err(XmlFault::Depth(self.limits.xml_depth_max));
        }
        if !start.attributes_raw().trim_ascii().is_empty() {
            return Err(XmlFault::Attribute);
        }
        Ok(Piece::Open(Name(start)))
    }

    fn require_inside(&self) -> Result<(), XmlFault> {
        if self.depth > 0 { Ok(()) } else { Err(XmlFault::OutsideRoot) }
    }

    fn end(&self) -> Result<Piece<'a>, XmlFault> {
        if self.depth > 0 {
            return Err(XmlFault::Malformed("it ends inside an element".into()));
        }
        if !self.root_seen {
            return Err(XmlFault::Malformed("it has no element".into()));
        }
        Ok(Piece::End)
    }
}

/// What stands between `&` and `;`, as text.
fn resolve(reference: &str) -> Result<Cow<'static, str>, XmlFault> {
    let named = match reference {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        other => return character(other).map(|c| Cow::Owned(c.into())).ok_or(XmlFault::Entity),
    };
    Ok(Cow::Borrowed(named))
}

/// `#65` or `#x41` as a character.
fn character(reference: &str) -> Option<char> {
    let digits = reference.strip_prefix('#')?;
    let (digits, radix) = digits.strip_prefix('x').map_or((digits, 10), |hex| (hex, 16));
    // `from_str_radix` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens, closes and texts of a document, written out.
    fn pieces(text: &str) -> Result<String, XmlFault> {
        within(text, &ReadLimits::DEFAULT)
    }

    fn within(text: &str, limits: &ReadLimits) -> Result<String, XmlFault> {
        let mut reader = XmlReader::new(text, limits);
        let mut out = String::new();
        loop {
            match reader.next()? {
                Piece::Open(name) => out.extend(["(", name.as_str()]),
                Piece::Close => out.push(')'),
                Piece::Text { text, .. } => out += &text,
                Piece::End => return Ok(out),
            }
        }
    }

    #[test]
    fn elements_texts_and_references_are_read() {
        assert_eq!(
            pieces("\u{FEFF}<?xml version=\"1.0\"?>\n<xml><a>1</a><b/><!-- c --><?pi x?></xml>\n").unwrap(),
            "(xml(a1)(b))"
        );
        assert_eq!(
            pieces("<a>&lt;&amp;&gt;&quot;&apos;&#20320;&#x1F600;<![CDATA[<b>&amp;]]]]><![CDATA[>]]></a >")
                .unwrap(),
            "(a<&>\"'你😀<b>&amp;]]>)"
        );
        assert_eq!(pieces("<a>\r\n\u{1}</a>").unwrap(), "(a\r\n\u{1})");
    }

    #[test]
    fn what_the_protocol_does_not_have_is_refused() {
        let fault = |text: &str| pieces(text).unwrap_err();
        assert_eq!(fault("<!DOCTYPE xml><xml/>"), XmlFault::Dtd);
        assert_eq!(fault("<xml a='1'/>"), XmlFault::Attribute);
        for entity in ["&x;", "&#x110000;", "&#xD800;", "&#+65;", "&#;", "&;"] {
            assert!(
                matches!(fault(&format!("<a>{entity}</a>")), XmlFault::Entity | XmlFault::Malformed(_)),
                "{entity}"
            );
        }
        for text in ["x<a/>", "<a/>x", "<a/><b/>", "<a/>&lt;", "<![CDATA[x]]><a/>"] {
            assert_eq!(fault(text), XmlFault::OutsideRoot, "{text}");
        }
        for text in [
            "",
            " ",
            "<a>",
            "<a></b>",
            "</a>",
            "<a><b></a></b>",
            "<a><![CDATA[x</a>",
            "<a",
            "<a>&lt</a>",
            "<!-- x",
        ] {
            assert!(matches!(fault(text), XmlFault::Malformed(_)), "{text}");
        }
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        // Two pieces a child, two for the root, one for the end.
        let many = |children: usize| format!("<a>{}</a>", "<b/>".repeat(children));
        for (depth, number) in [(16, 20_000), (3, 9), (100, 1_000_000)] {
            let limits = ReadLimits { xml_depth_max: depth, xml_pieces_max: number, ..ReadLimits::DEFAULT };
            let deep = ReadLimits { xml_pieces_max: 1_000, ..limits };
            assert!(within(&nested(depth), &deep).is_ok());
            assert_eq!(within(&nested(depth + 1), &deep), Err(XmlFault::Depth(depth)));
            assert!(within(&many((number - 3) / 2), &limits).is_ok());
            assert_eq!(within(&many((number - 3) / 2 + 1), &limits), Err(XmlFault::Pieces(number)));
        }
    }
}
