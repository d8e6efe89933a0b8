//! The fuzz targets' checks on seeded random input: mutated samples, fragments of the grammar, plain noise.

use wecom_gateway::entropy::Entropy;

use crate::vectors::folder;

#[path = "../../fuzz/harness.rs"]
mod harness;

/// Runs of each check; a run takes some tens of microseconds.
const RUNS: usize = 20_000;

/// Pieces that grammars are made of.
const FRAGMENTS: [&str; 44] = [
    "<xml>",
    "</xml>",
    "<a>",
    "</a>",
    "<a/>",
    "<Encrypt>",
    "</Encrypt>",
    "<![CDATA[",
    "]]>",
    "]]",
    "<!--",
    "-->",
    "<?",
    "?>",
    "<!DOCTYPE x>",
    "&amp;",
    "&#65;",
    "&#x110000;",
    "&",
    ";",
    "<MsgType>event</MsgType>",
    "<Event>",
    "</Event>",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0041",
    "\\ud800",
    "18446744073709551616",
    "-0",
    "1e999",
    "null",
    "\"msgtype\":\"text\"",
    "\"encrypt\":\"AAAA\"",
    "timestamp=1700000000",
    "&nonce=n",
    "&msg_signature=",
    "%41",
    "%ff",
];

/// A small generator over [`Entropy`].
struct Dice(Entropy);

impl Dice {
    fn below(&self, end: usize) -> usize {
        usize::try_from(u64::from_le_bytes(self.0.bytes()) % end.max(1) as u64).expect("it fits")
    }

    /// Noise, a sentence of fragments, or a sample with some bytes changed, cut or doubled.
    fn input(&self, samples: &[Vec<u8>]) -> Vec<u8> {
        match self.below(4) {
            0 => (0..self.below(200)).map(|_| self.0.bytes::<1>()[0]).collect(),
            1 => (0..self.below(40)).flat_map(|_| FRAGMENTS[self.below(FRAGMENTS.len())].bytes()).collect(),
            _ => self.mutated(samples[self.below(samples.len())].clone()),
        }
    }

    fn mutated(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.below(6) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at..at, FRAGMENTS[self.below(FRAGMENTS.len())].bytes())),
                2 => drop(bytes.splice(at..(at + 5).min(bytes.len()), [])),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = self.0.bytes::<1>()[0];
                    }
                }
            }
        }
        bytes
    }
}

/// Runs `check` on random input; the seed stands in the message of a failure.
fn run(name: &str, seed: u64, samples: &[Vec<u8>], check: fn(&[u8])) {
    for round in 0..RUNS {
        let seed = seed + round as u64;
        let input = Dice(Entropy::seeded(seed)).input(samples);
        let outcome = std::panic::catch_unwind(|| check(&input));
        assert!(outcome.is_ok(), "{name}, seed {seed}: {:?}", String::from_utf8_lossy(&input));
    }
}

fn samples(extension: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(format!("{}/callback-samples", folder())).expect("the samples");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).expect("a sample")).collect()
}

#[test]
fn sealed_callbacks() {
    run("envelope", 1 << 32, &samples("xml"), harness::envelope);
}

#[test]
fn bodies_of_strangers() {
    let envelopes = [
        "<xml><ToUserName>a</ToUserName><Encrypt><![CDATA[AAAA]]></Encrypt></xml>",
        "{\"encrypt\":\"AAAA\"}",
    ];
    let samples: Vec<Vec<u8>> = envelopes.iter().map(|text| text.as_bytes().to_vec()).collect();
    run("outer", 2 << 32, &samples, harness::outer);
}

#[test]
fn xml_plaintexts() {
    run("plaintext", 3 << 32, &samples("xml"), harness::plaintext);
}

#[test]
fn json_plaintexts() {
    run("json", 4 << 32, &samples("json"), harness::json);
}

#[test]
fn query_strings() {
    let query = b"msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1409659589&nonce=263014780&echostr=a%2Bb%3D";
    run("query", 5 << 32, &[query.to_vec()], harness::query);
}
