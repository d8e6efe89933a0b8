//! The text of an XML element, and which white space belongs to it.

use std::borrow::Cow;

/// The text of one element, collected from its pieces.
#[derive(Debug, Default)]
pub(crate) struct LeafText<'a> {
    text: Cow<'a, str>,
    /// Where in `text` the first CDATA section begins and the last one ends.
    cdata: Option<(usize, usize)>,
}

impl<'a> LeafText<'a> {
    /// Adds a piece.
    pub(crate) fn push(&mut self, piece: Cow<'a, str>, cdata: bool) {
        let begin = self.text.len();
        if self.text.is_empty() {
            self.text = piece;
        } else {
            self.text.to_mut().push_str(&piece);
        }
        if cdata {
            self.cdata = Some((self.cdata.map_or(begin, |(first, _)| first), self.text.len()));
        }
    }

    /// Whether there is nothing but white space.
    pub(crate) fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// Without the white space around it: ids, numbers, names. Documented samples have blanks on either side of a
    /// CDATA section, and in it.
    pub(crate) fn trimmed(self) -> Cow<'a, str> {
        trim_within(self.text, usize::MAX, 0)
    }

    /// Without the white space around its CDATA sections, which are kept as they are: what a person typed.
    pub(crate) fn typed(self) -> Cow<'a, str> {
        let (first, last) = self.cdata.unwrap_or((usize::MAX, 0));
        trim_within(self.text, first, last)
    }
}

/// Trims white space off the front up to byte `first` and off the back down to byte `last`.
fn trim_within(text: Cow<'_, str>, first: usize, last: usize) -> Cow<'_, str> {
    let front = (text.len() - text.trim_start().len()).min(first);
    let back = text.trim_end().len().max(last).max(front);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(front..back).unwrap_or_default()),
        Cow::Owned(text) if front == 0 && back == text.len() => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(text.get(front..back).unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_cdata_section_is_not_part_of_it() {
        let leaf = |pieces: &[(&'static str, bool)]| {
            let mut leaf = LeafText::default();
            for (text, cdata) in pieces {
                leaf.push(Cow::Borrowed(*text), *cdata);
            }
            leaf
        };
        let spaced: &[_] = &[("\n ", false), (" hi ", true), ("\n", false)];
        assert_eq!(leaf(spaced).typed(), " hi ");
        assert_eq!(leaf(spaced).trimmed(), "hi");
        assert_eq!(leaf(&[(" 1 ", false)]).typed(), "1");
        assert_eq!(leaf(&[("a", true), (" ", false), ("b ", true)]).typed(), "a b ");
        assert_eq!(leaf(&[(" ", false), (" ", true)]).typed(), " ");
        assert!(leaf(&[(" ", true)]).is_blank() && leaf(&[]).is_blank());
    }
}
