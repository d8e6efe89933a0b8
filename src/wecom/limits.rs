//! How much of a request is read before anything about it is proved, and of a plaintext afterwards.

/// Bounds of one callback's parts. They are the configuration's; nothing here knows a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Longest query string, in bytes.
    pub query_bytes_max: usize,
    /// Most query parameters; a callback has four and whatever the configured URL brings.
    pub parameters_max: usize,
    /// Deepest nesting of XML; documented callbacks go six deep.
    pub xml_depth_max: usize,
    /// Most pieces (elements, texts, comments) of XML; the longest documented callback has about 2,000.
    pub xml_pieces_max: usize,
    /// Deepest nesting of JSON; documented callbacks go eight deep.
    pub json_depth_max: usize,
    /// Most values of JSON: its commas, brackets and braces.
    pub json_values_max: usize,
}

impl ReadLimits {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        query_bytes_max: 8 * 1024,
        parameters_max: 32,
        xml_depth_max: 16,
        xml_pieces_max: 20_000,
        json_depth_max: 64,
        json_values_max: 20_000,
    };

    /// The widest that may be configured: recursion stays shallow, and the JSON parser itself stops at 128.
    pub const WIDEST: Self = Self {
        query_bytes_max: 64 * 1024,
        parameters_max: 256,
        xml_depth_max: 100,
        xml_pieces_max: 1_000_000,
        json_depth_max: 100,
        json_values_max: 1_000_000,
    };
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
