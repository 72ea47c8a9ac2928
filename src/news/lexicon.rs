//! What a headline says, word by word (Hutto and Gilbert 2014): valences, turned round behind a negation within three words, more or less by
//! what stands before them; the sum is brought into (−1, 1).

use std::collections::BTreeMap;

use kimera_numerics::tone::compound;

/// The words that come with the program.
const WORDS: &str = include_str!("lexicon.tsv");
/// Words before one that may change what it is worth.
const BEFORE: usize = 3;
/// What a negation does to it.
const TURNED: f64 = -0.74;
/// What an intensifier adds, in its direction, and how much of that is left two and three words away.
const MORE: f64 = 0.293;
const FURTHER: [f64; BEFORE] = [1.0, 0.95, 0.9];
/// Most words of a text that are looked at.
const TOKENS_MAX: usize = 512;

const NEGATIONS: [&str; 14] = [
    "not", "no", "never", "without", "isn't", "wasn't", "doesn't", "didn't", "won't", "can't", "cannot",
    "fails", "denies", "unlikely",
];
const STRONGER: [&str; 11] = [
    "very",
    "massive",
    "huge",
    "sharply",
    "sharp",
    "extremely",
    "record",
    "major",
    "heavily",
    "strongly",
    "significantly",
];
const WEAKER: [&str; 6] = ["slightly", "somewhat", "partly", "marginally", "little", "modestly"];

/// Words and what they are worth.
#[derive(Clone, Debug)]
pub struct Lexicon {
    words: BTreeMap<&'static str, f64>,
    hash: u64,
}

impl Lexicon {
    /// The one that comes with the program.
    #[must_use]
    pub fn shipped() -> Self {
        let word = |line: &'static str| {
            let (word, worth) = line.split_once('\t')?;
            Some((word, worth.parse().ok()?))
        };
        Self { words: WORDS.lines().filter_map(word).collect(), hash: hash(WORDS) }
    }

    /// Tells one list from another.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The tone of a text in (−1, 1), and how many words it was found in.
    #[must_use]
    pub fn tone(&self, text: &str) -> (f64, usize) {
        let words: Vec<String> = tokens(text).take(TOKENS_MAX).collect();
        let mut found = 0;
        let mut sum = 0.0;
        for (i, word) in words.iter().enumerate() {
            let Some(worth) = self.words.get(word.as_str()) else { continue };
            found += 1;
            let mut worth = *worth;
            for (distance, before) in words[..i].iter().rev().take(BEFORE).enumerate() {
                let before = before.as_str();
                let more = MORE * FURTHER[distance] * worth.signum();
                if STRONGER.contains(&before) {
                    worth += more;
                } else if WEAKER.contains(&before) {
                    worth -= more;
                }
            }
            if words[..i].iter().rev().take(BEFORE).any(|w| NEGATIONS.contains(&w.as_str())) {
                worth *= TURNED;
            }
            sum += worth;
        }
        (compound(sum), found)
    }
}

/// Words in lower case, of letters, apostrophes and hyphens inside them.
fn tokens(text: &str) -> impl Iterator<Item = String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '\'' || c == '-';
    text.split(move |c| !is_word(c))
        .map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
        .filter(|w| !w.is_empty())
}

/// A hash of a text, the same on every machine; never 0.
#[must_use]
pub fn hash(text: &str) -> u64 {
    let bytes = blake3::hash(text.as_bytes());
    let first = bytes.as_bytes().first_chunk::<8>().map_or(1, |b| u64::from_le_bytes(*b));
    first.max(1)
}

/// A headline's hash: of its words alone, whatever is written between them.
#[must_use]
pub fn headline_hash(text: &str) -> u64 {
    hash(&tokens(text).take(TOKENS_MAX).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headlines_have_the_tone_of_their_words() {
        let lexicon = Lexicon::shipped();
        let tone = |text: &str| lexicon.tone(text).0;
        assert!(tone("Bitcoin surges to record high") > 0.5);
        assert!(tone("Exchange hacked, customer funds stolen") < -0.7);
        assert_eq!(lexicon.tone("The committee meets on Thursday"), (0.0, 0));
        assert!(tone("Regulator does not approve the fund") < 0.0, "turned round");
        assert!(
            tone("Bitcoin slightly falls") > tone("Bitcoin falls")
                && tone("Bitcoin sharply falls") < tone("Bitcoin falls")
        );
        // 2.6 + 1.3, nothing before either: s/√(s² + 15).
        let s: f64 = 2.6 + 0.293 * 0.0;
        assert!((tone("surges") - s / (s * s + 15.0).sqrt()).abs() < 1e-12);
        assert!(WORDS.lines().filter(|l| !l.starts_with('#')).all(|l| l.split('\t').count() == 2));
        assert!(lexicon.words.values().all(|worth| (-4.0..=4.0).contains(worth)));
    }

    #[test]
    fn the_same_words_are_the_same_headline() {
        assert_eq!(headline_hash("Bitcoin SURGES!"), headline_hash("  bitcoin, surges"));
        assert_ne!(headline_hash("Bitcoin surges"), headline_hash("Bitcoin falls"));
    }
}
